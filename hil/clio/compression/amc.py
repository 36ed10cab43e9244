"""AMC (He et al., ECCV 2018): an agent decides, layer by layer, how many channels to keep.

An episode walks the groups of channels in order of execution. For each the agent sees what reads
them and what the budget still allows, and answers the share to keep; a wall lowers the answer
where the smallest choices for all later layers would no longer meet the budget. The network is
then pruned (hil.clio.compression.channel_prune) and the reward is its accuracy, before any fine-
tuning, on training images held out for it. The best network seen wins.

Channels tied by a skip are decided once, where they are first read; the published code does the
same for MobileNetV2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hil.clio.compression.channel_prune import loaded, prune, take_grams
from hil.clio.compression.compressed import Compressed, History
from hil.clio.compression.ddpg import Ddpg, DdpgSettings, Transition
from hil.clio.compression.macs import size_of
from hil.clio.compression.space import SearchSpace, rounded_choices
from hil.clio.compression.state import SearchState
from hil.clio.compression.structure import Counts, Kind, structure_of
from hil.core.errors import ModelError
from hil.nn.checkpoint import Checkpoint
from hil.nn.data.images import ImageSet, split
from hil.nn.train import top1

Reward = Callable[[Counts], float]


@dataclass(frozen=True)
class AmcSettings:
    """Values of the published code; ``judge`` and ``calibration`` are numbers of images."""

    warmup: int = 100
    episodes: int = 800
    floor: float = 0.2
    divisor: int = 8
    judge: int = 5000
    calibration: int = 500
    agent: DdpgSettings = field(default_factory=DdpgSettings)


@dataclass(frozen=True)
class Found:
    """The best candidate, its reward, and all that were tried."""

    counts: Counts
    reward: float
    history: History


class Walk:
    """One episode's states: what the agent sees before each decision (AMC, equation 1).

    index, kind, channels read and made, stride, kernel and weights of the first layer that reads
    the group (each scaled to 0..1 over all decisions); MACs removed so far and MACs of later
    layers, as shares of the network; the last action.
    """

    FEATURES = 10

    def __init__(self, space: SearchSpace):
        self.space = space
        structure = space.structure
        self.total = structure.macs(structure.sizes)
        rows, rest = [], []
        for step, group in enumerate(space.decisions):
            layer = structure.readers(group)[0]
            sizes = structure.sizes
            later = structure.layers[structure.layers.index(layer) + 1 :]
            kind = 1.0 if layer.kind is Kind.LINEAR else 0.0
            weights = layer.parameters(sizes)
            row = (step, kind, sizes[layer.reads], sizes[layer.makes], layer.stride, layer.area)
            rows.append((*row, weights))
            rest.append(sum(x.macs(sizes) for x in later) / self.total)
        table = np.array(rows, np.float64)
        span = table.max(0) - table.min(0)
        self.static = (table - table.min(0)) / np.where(span > 0, span, 1.0)
        self.rest = rest

    def state(self, step: int, chosen: dict[int, int], action: float) -> np.ndarray:
        """Before decision ``step``, with ``chosen`` decided and ``action`` the last one."""
        counts = list(self.space.structure.sizes)
        for group, size in chosen.items():
            counts[group] = size
        removed = 1 - self.space.structure.macs(counts) / self.total
        seen = [*self.static[step], removed, self.rest[step], action]
        return np.array(seen, np.float32)


def search(
    space: SearchSpace,
    reward: Reward,
    settings: AmcSettings,
    seed: int,
    state: SearchState | None = None,
    report: Callable[[str], None] = print,
) -> Found:
    """Run all episodes that ``state`` does not hold yet; every candidate keeps the budget.

    Raises ModelError if there is nothing to decide.
    """
    if not space.decisions:
        raise ModelError("no group of channels has more than one allowed size; lower the divisor")
    state = state or SearchState(None, {})
    walk = Walk(space)
    agent = Ddpg(walk.FEATURES, len(space.decisions), settings.agent, seed)
    progress: dict[str, Any] = {"history": [], "best": None, "reward": -float("inf")}
    held = state.load()
    if held is not None:
        agent.restore(held["agent"])
        progress = held["progress"]
    total = settings.warmup + settings.episodes
    for episode in range(len(progress["history"]), total):
        counts, steps = _episode(walk, agent, settings, episode)
        value = reward(counts)
        agent.remember(steps, value)
        if episode >= settings.warmup:
            for _ in steps:
                agent.learn()
        macs = space.structure.macs(counts)
        progress["history"].append([macs, value])
        if value > progress["reward"]:
            progress["best"], progress["reward"] = list(counts), value
        state.save({"agent": agent.state(), "progress": progress})
        report(
            f"episode {episode + 1}/{total}: {macs / 1e6:.2f} MMAC, reward {value:.4f}, "
            f"best {progress['reward']:.4f}"
        )
    history = tuple((macs, value) for macs, value in progress["history"])
    return Found(tuple(progress["best"]), progress["reward"], history)


def _episode(
    walk: Walk, agent: Ddpg, settings: AmcSettings, episode: int
) -> tuple[Counts, list[Transition]]:
    space = walk.space
    chosen: dict[int, int] = {
        group: sizes[0] for group, sizes in space.choices.items() if len(sizes) == 1
    }
    states, actions, action = [], [], 1.0
    for step, group in enumerate(space.decisions):
        states.append(walk.state(step, chosen, action))
        if episode < settings.warmup:
            wanted = agent.draw(settings.floor)
        else:
            wanted = agent.act(states[-1], episode - settings.warmup, settings.floor)
        chosen[group] = space.walled(chosen, group, wanted)
        # What was done after wall and rounding, not what was wanted: the critic learns from it.
        action = chosen[group] / space.choices[group][-1]
        actions.append(action)
    last = len(states) - 1
    steps = [
        Transition(states[i], actions[i], states[min(i + 1, last)], i == last)
        for i in range(len(states))
    ]
    counts = list(space.structure.sizes)
    for group, size in chosen.items():
        counts[group] = size
    return tuple(counts), steps


def compress_amc(
    checkpoint: Checkpoint,
    budget_macs: int,
    images: ImageSet,
    settings: AmcSettings,
    seed: int = 0,
    state_file: Path | None = None,
    report: Callable[[str], None] = print,
) -> Compressed:
    """Prune a trained network to ``budget_macs`` with AMC; ``images`` are training images.

    A search that was killed goes on from ``state_file``. Raises DataError for a foreign state
    file or too few images, ModelError for a budget that cannot be met.
    """
    spec, weights = checkpoint.spec, checkpoint.weights
    structure = structure_of(spec)
    choices = rounded_choices(structure, settings.floor, settings.divisor)
    space = SearchSpace(structure, choices, budget_macs)
    rest, judge = split(images, settings.judge, seed)
    calibration = rest.take(settings.calibration)
    grams = take_grams(spec, weights, calibration.x, calibration.digest)
    known: dict[Counts, float] = {}

    def reward(counts: Counts) -> float:
        if counts not in known:
            known[counts] = top1(loaded(*prune(spec, weights, counts, grams)), judge)
        return known[counts]

    identity = {
        "method": "amc",
        "source": checkpoint.digest,
        "budget_macs": budget_macs,
        "settings": asdict(settings),
        "seed": seed,
        "images": images.digest,
    }
    found = search(space, reward, settings, seed, SearchState(state_file, identity), report)
    smaller, pruned = prune(spec, weights, found.counts, grams)
    return Compressed(
        method="amc",
        source=checkpoint.name,
        source_digest=checkpoint.digest,
        before=size_of(spec),
        spec=smaller,
        weights=pruned,
        settings={**asdict(settings), "budget_macs": budget_macs},
        seed=seed,
        data={
            "train": images.digest,
            "judge": judge.digest,
            "calibration": calibration.digest,
        },
        history=found.history,
    )
