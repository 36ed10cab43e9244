"""Evolutionary search over group sizes within a MACs budget, as MetaPruning does it.

A generation is judged, the best of all so far are kept as parents, and the next one is made of
mutations, crossovers and, up to the population, random candidates. Where the published code
throws away candidates over the budget and draws again, these lose channels at random until they
fit: for tight budgets nearly every draw would be thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hil.clio.compression.space import SearchSpace
from hil.clio.compression.state import SearchState, restore_rng, rng_state
from hil.clio.compression.structure import Counts
from hil.core.errors import ModelError


@dataclass(frozen=True)
class EvolutionSettings:
    """Values of the published code."""

    generations: int = 20
    population: int = 50
    parents: int = 10
    mutations: int = 25
    crossovers: int = 25
    mutation_probability: float = 0.1

    def __post_init__(self) -> None:
        least = min(self.generations, self.parents)
        if least < 1 or self.mutations + self.crossovers > self.population:
            raise ModelError(
                "evolution needs a generation, a parent, and no more mutations and crossovers "
                f"than its population: {self}"
            )


def evolve(
    space: SearchSpace,
    judge: Callable[[Counts], float],
    settings: EvolutionSettings,
    seed: int,
    state: SearchState | None = None,
    report: Callable[[str], None] = print,
) -> list[tuple[Counts, float]]:
    """Every distinct candidate with its accuracy, in order of evaluation; all keep the budget.

    Generations that ``state`` holds are not evaluated again.
    """
    state = state or SearchState(None, {})
    rng = np.random.default_rng([seed, 1])
    judged: dict[Counts, float] = {}
    done = 0
    held: dict[str, Any] | None = state.load()
    if held is not None:
        done = held["generations"]
        judged = {tuple(counts): value for counts, value in held["judged"]}
        restore_rng(rng, held["rng"])
    for generation in range(done, settings.generations):
        for counts in _generation(space, settings, judged, rng):
            judged[counts] = judge(counts)
        judged_list = [[list(counts), value] for counts, value in judged.items()]
        state.save({"generations": generation + 1, "judged": judged_list, "rng": rng_state(rng)})
        best = max(judged.values())
        report(
            f"generation {generation + 1}/{settings.generations}: {len(judged)} candidates, "
            f"best {best:.4f}"
        )
    return list(judged.items())


def _generation(
    space: SearchSpace,
    settings: EvolutionSettings,
    judged: dict[Counts, float],
    rng: np.random.Generator,
) -> list[Counts]:
    """New candidates; fewer than the population when nothing new turns up."""
    fresh: dict[Counts, None] = {}

    def fill(number: int, make: Callable[[], Counts]) -> None:
        target = len(fresh) + number
        for _ in range(10 * number):
            if len(fresh) >= target:
                return
            candidate = space.repaired(make(), rng)
            if candidate not in judged:
                fresh[candidate] = None

    if judged:
        order = sorted(judged, key=lambda counts: judged[counts], reverse=True)
        parents = order[: settings.parents]
        fill(settings.mutations, lambda: _mutated(space, _one(parents, rng), settings, rng))
        fill(settings.crossovers, lambda: _crossed(_one(parents, rng), _one(parents, rng), rng))
    fill(settings.population - len(fresh), lambda: space.draw(rng))
    return list(fresh)


def _one(parents: list[Counts], rng: np.random.Generator) -> Counts:
    return parents[int(rng.integers(len(parents)))]


def _mutated(
    space: SearchSpace, parent: Counts, settings: EvolutionSettings, rng: np.random.Generator
) -> Counts:
    child = list(parent)
    for group in space.decisions:
        if rng.random() < settings.mutation_probability:
            child[group] = int(rng.choice(space.choices[group]))
    return tuple(child)


def _crossed(mother: Counts, father: Counts, rng: np.random.Generator) -> Counts:
    from_mother = rng.random(len(mother)) < 0.5
    return tuple(m if take else f for m, f, take in zip(mother, father, from_mother, strict=True))
