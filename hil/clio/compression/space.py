"""The counts a search may choose, and what keeps them within a MACs budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hil.clio.compression.structure import Counts, Structure
from hil.core.errors import ModelError


@dataclass(frozen=True)
class SearchSpace:
    """Allowed sizes of each free group, ascending, and the budget all candidates keep.

    Raises ModelError when made if even the smallest candidate costs more than ``budget_macs``.
    """

    structure: Structure
    choices: dict[int, tuple[int, ...]]
    budget_macs: int

    def __post_init__(self) -> None:
        least = self.structure.macs(self.smallest)
        if least > self.budget_macs:
            raise ModelError(
                f"a budget of {self.budget_macs} MACs is below the smallest network of this "
                f"search, {least} MACs; raise the budget or lower the least share kept (floor)"
            )

    @cached_property
    def smallest(self) -> Counts:
        return self._with({group: sizes[0] for group, sizes in self.choices.items()})

    @cached_property
    def decisions(self) -> tuple[int, ...]:
        """Groups with more than one choice, in order of execution."""
        return tuple(group for group, sizes in self.choices.items() if len(sizes) > 1)

    def fits(self, counts: Counts) -> bool:
        return self.structure.macs(counts) <= self.budget_macs

    def draw(self, rng: np.random.Generator) -> Counts:
        """Every group's size at random, brought within the budget."""
        drawn = {group: int(rng.choice(sizes)) for group, sizes in self.choices.items()}
        return self.repaired(self._with(drawn), rng)

    def repaired(self, counts: Counts, rng: np.random.Generator) -> Counts:
        """``counts`` with random groups made one choice smaller until the budget holds."""
        within = list(counts)
        while not self.fits(tuple(within)):
            group = int(rng.choice([g for g in self.decisions if within[g] > self.choices[g][0]]))
            within[group] = max(size for size in self.choices[group] if size < within[group])
        return tuple(within)

    def walled(self, chosen: dict[int, int], group: int, share: float) -> int:
        """The size nearest to ``share`` of a group that still leaves the budget reachable.

        ``chosen`` holds the groups decided so far; those to come count with their least size.
        """
        sizes = self.choices[group]
        wanted = min(sizes, key=lambda size: (abs(size - share * sizes[-1]), size))
        for size in reversed(sizes):
            if size <= wanted and self.fits(self._with({**chosen, group: size}, self.smallest)):
                return size
        raise ModelError(f"group {group}: the sizes chosen before it already exceed the budget")

    def _with(self, chosen: dict[int, int], base: Counts | None = None) -> Counts:
        counts = list(base or self.structure.sizes)
        for group, size in chosen.items():
            counts[group] = size
        return tuple(counts)


def rounded_choices(structure: Structure, floor: float, divisor: int) -> dict[int, tuple[int, ...]]:
    """Multiples of ``divisor`` from ``floor`` of each free group on, and its full size."""
    if not 0 < floor <= 1 or divisor < 1:
        raise ModelError(f"needs 0 < floor <= 1 and divisor >= 1, not {floor} and {divisor}")
    choices = {}
    for group in structure.free:
        size = structure.sizes[group]
        first = max(divisor, -(-int(np.ceil(size * floor)) // divisor) * divisor)
        choices[group] = (*range(first, size, divisor), size)
    return choices


def level_choices(
    structure: Structure, levels: tuple[float, ...], divisor: int
) -> dict[int, tuple[int, ...]]:
    """Each free group at every level (a share of its size), rounded to ``divisor``."""
    if not levels or min(levels) <= 0 or max(levels) > 1 or divisor < 1:
        raise ModelError(f"levels must be in 0 to 1 and divisor >= 1, not {levels}, {divisor}")
    choices = {}
    for group in structure.free:
        size = structure.sizes[group]
        rounded = {max(divisor, round(size * level / divisor) * divisor) for level in levels}
        choices[group] = tuple(sorted({min(size, one) for one in rounded}))
    return choices
