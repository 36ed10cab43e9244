"""AMC: budgets, the agent against random search, resume, seeds."""

from dataclasses import replace

import numpy as np
import pytest

from hil.clio.compression.amc import AmcSettings, compress_amc, search
from hil.clio.compression.ddpg import DdpgSettings, _truncated_normal
from hil.clio.compression.macs import budget_macs
from hil.clio.compression.space import SearchSpace, rounded_choices
from hil.clio.compression.state import SearchState
from hil.clio.compression.structure import Kind, LayerShape, Structure
from hil.core.errors import DataError, ModelError

AGENT = DdpgSettings(hidden=32, actor_lr=1e-3, sigma_decay=0.97, batch=32)


def chain(groups: int, size: int = 64) -> Structure:
    """3x3 convolutions one after the other and a classifier."""
    convolutions = [LayerShape(f"c{i}", Kind.CONV, i, i + 1, 64, 9) for i in range(groups)]
    classifier = LayerShape("fc", Kind.LINEAR, groups, groups + 1, 1, 1, bias=True)
    sizes = (3, *[size] * groups, 10)
    return Structure((*convolutions, classifier), sizes, tuple(range(1, groups + 1)))


def space_of(structure: Structure, share: float, floor: float = 0.2) -> SearchSpace:
    choices = rounded_choices(structure, floor, 4)
    return SearchSpace(structure, choices, int(share * structure.macs(structure.sizes)))


def toy_reward(space: SearchSpace, seed: int):
    """One minus the mean distance to a secret network that fits the budget: best is 1."""
    best = space.draw(np.random.default_rng(seed))

    def reward(counts):
        shares = [
            abs(counts[group] - best[group]) / space.structure.sizes[group]
            for group in space.structure.free
        ]
        return 1.0 - float(np.mean(shares))

    return reward


def quiet(_: str) -> None:
    pass


@pytest.mark.parametrize("share", [0.1, 0.35, 0.9])
def test_every_candidate_keeps_the_budget(share):
    space = space_of(chain(5), share)
    settings = AmcSettings(warmup=20, episodes=10, agent=AGENT)
    tried = []

    def reward(counts):
        tried.append(counts)
        return sum(counts) / 1000  # wants as many channels as it can get

    found = search(space, reward, settings, 0, report=quiet)
    assert all(space.fits(counts) for counts in tried)
    assert [macs for macs, _ in found.history] == [space.structure.macs(c) for c in tried]
    assert found.reward == max(value for _, value in found.history)
    for counts in tried:
        assert all(counts[g] in space.choices[g] for g in space.structure.free)


def test_wall_leaves_room_for_the_rest():
    space = space_of(chain(4), 0.1)
    chosen = {}
    for group in space.decisions:
        chosen[group] = space.walled(chosen, group, 1.0)
    counts = (3, *chosen.values(), 10)
    assert space.fits(counts)
    # Greedy: one more step for the first group would have broken the budget for certain.
    bigger = min(size for size in space.choices[1] if size > chosen[1])
    assert not space.fits((3, bigger, *space.smallest[2:]))


def test_agent_beats_random_search_at_equal_episodes():
    space = space_of(chain(12), 0.5)
    reward = toy_reward(space, 0)
    agent = DdpgSettings(hidden=64, actor_lr=1e-3, sigma_decay=0.98)
    learned = search(space, reward, AmcSettings(40, 160, agent=agent), 0, report=quiet)
    guessed = search(space, reward, AmcSettings(200, 0, agent=agent), 0, report=quiet)
    assert len(learned.history) == len(guessed.history)
    assert learned.reward > guessed.reward
    values = [value for _, value in learned.history]
    assert np.mean(values[-30:]) > np.mean(values[:40]) + 0.05


class Killed(Exception):
    pass


def test_killed_search_ends_like_an_uninterrupted_one(tmp_path):
    space = space_of(chain(3), 0.5)
    reward = toy_reward(space, 3)
    settings = AmcSettings(warmup=4, episodes=8, agent=AGENT)
    whole = search(space, reward, settings, 1, report=quiet)
    calls = []

    def dying(counts):
        calls.append(counts)
        if len(calls) in (3, 9):
            raise Killed
        return reward(counts)

    state = SearchState(tmp_path / "amc.pt", {"seed": 1})
    for _ in range(2):
        with pytest.raises(Killed):
            search(space, dying, settings, 1, state, quiet)
    resumed = search(space, dying, settings, 1, state, quiet)
    assert resumed == whole
    assert len(calls) == 12 + 2  # nothing but the two that died was done twice
    other = search(space, reward, settings, 2, report=quiet)
    assert other.history != whole.history


def test_foreign_state_is_refused(tmp_path):
    SearchState(tmp_path / "amc.pt", {"seed": 1}).save({"x": 1})
    with pytest.raises(DataError, match="belongs to a search"):
        SearchState(tmp_path / "amc.pt", {"seed": 2}).load()
    (tmp_path / "amc.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="not a readable search state"):
        SearchState(tmp_path / "amc.pt", {"seed": 1}).load()


def test_budget_below_the_floor_is_refused():
    with pytest.raises(ModelError, match="smallest network"):
        space_of(chain(5), 0.1, floor=0.5)


def test_truncated_normal_stays_inside_and_is_monotone():
    drawn = [_truncated_normal(0.9, 0.5, 0.2, 1.0, u) for u in np.linspace(0, 1, 21)]
    assert drawn[0] == pytest.approx(0.2, abs=1e-6)
    assert drawn[-1] == pytest.approx(1.0, abs=1e-6)
    assert drawn == sorted(drawn)
    # Median of a normal cut at 0.2 and 1.0: its distribution function is half way between.
    assert _truncated_normal(0.6, 0.1, 0.2, 1.0, 0.5) == pytest.approx(0.6, abs=1e-9)


def test_compresses_a_network_within_the_budget(checkpoint, images):
    budget = budget_macs(checkpoint.spec, 0.6)
    settings = AmcSettings(warmup=2, episodes=1, divisor=2, judge=40, calibration=20, agent=AGENT)
    made = compress_amc(checkpoint, budget, images, settings, seed=0, report=quiet)
    assert made.after.macs <= budget < made.before.macs
    assert len(made.history) == 3
    assert made.data["judge"] != made.data["calibration"] != made.data["train"]
    made.checkpoint().model()
    same = compress_amc(checkpoint, budget, images, settings, seed=0, report=quiet)
    assert same.checkpoint().digest == made.checkpoint().digest
    assert same.history == made.history
    with pytest.raises(DataError):
        compress_amc(checkpoint, budget, images, replace(settings, judge=10**6), report=quiet)
