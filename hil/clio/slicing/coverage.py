"""Which cuts are worth training: the fewest whose bandwidth ranges cover the range of interest.

Clio, section 3.4: computing up to and behind a cut leaves the rest of the latency target for
sending; its smallest and its largest slice then need a lowest and a highest bandwidth (equation
3). A greedy interval cover picks the cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil.core.errors import DataError


@dataclass(frozen=True)
class CutRange:
    """The bandwidths between which slices at a cut adapt: ``low_kbps`` sends the smallest slice
    in the time left, ``high_kbps`` the largest.
    """

    cut: str
    low_kbps: float
    high_kbps: float


@dataclass(frozen=True)
class Coverage:
    """``chosen`` in the order of rising bandwidth; ``gaps``: (low, high) that no cut covers."""

    chosen: tuple[CutRange, ...]
    gaps: tuple[tuple[float, float], ...]


def cut_range(
    cut: str, smallest_bytes: int, largest_bytes: int, target_s: float, computing_s: float
) -> CutRange | None:
    """The range of a cut; None if computing alone takes the whole ``target_s``."""
    if target_s <= 0 or computing_s < 0 or not 0 < smallest_bytes <= largest_bytes:
        raise DataError(
            f"cut {cut}: slices of {smallest_bytes} to {largest_bytes} bytes, {computing_s} s of "
            f"computing and a target of {target_s} s make no range"
        )
    left_s = target_s - computing_s
    if left_s <= 0:
        return None
    return CutRange(cut, smallest_bytes * 8e-3 / left_s, largest_bytes * 8e-3 / left_s)


def cover(ranges: Sequence[CutRange], low_kbps: float, high_kbps: float) -> Coverage:
    """The fewest ranges that cover ``low_kbps`` to ``high_kbps``, as far as they can be covered.

    Greedy: of the ranges that begin at or before the first bandwidth not yet covered, take the
    one that reaches furthest; where none begins, that is a gap up to the next one.
    """
    if not 0 < low_kbps < high_kbps:
        raise DataError(f"{low_kbps} to {high_kbps} kbit/s is no bandwidth range")
    chosen: list[CutRange] = []
    gaps: list[tuple[float, float]] = []
    reached = low_kbps
    while reached < high_kbps:
        usable = [r for r in ranges if r.low_kbps <= reached < r.high_kbps]
        if usable:
            best = max(usable, key=lambda r: r.high_kbps)
            chosen.append(best)
            reached = best.high_kbps
            continue
        begin = min((r.low_kbps for r in ranges if r.low_kbps > reached), default=high_kbps)
        gaps.append((reached, min(begin, high_kbps)))
        reached = begin
    return Coverage(tuple(chosen), tuple(gaps))
