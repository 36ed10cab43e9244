"""From a run's journal to decisions: which part of the network runs on which device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hil.clio.designer import PartitionDesigner, Wanted
from hil.clio.optimizer import Decision, Goal, Sweep, Target, decide, sweep
from hil.clio.partitions import Partition, partitions
from hil.clio.pricing import COSTS, Measured, Priced, price
from hil.clio.radio import RADIOS, Radio
from hil.cloud.wire import SLICE_HEADER_BYTES
from hil.core.cost import CostTable, Interval
from hil.core.network import Network
from hil.core.trial import TrialKind, Workload
from hil.loop.encoding import RAW, Encoding, coded, coded_points
from hil.loop.recorded import accuracy_interval, recorded_accuracies, recorded_tails
from hil.loop.settings import Settings
from hil.loop.workloads import input_digest
from hil.run.reader import Run

# The paper's range of interest for low-power radios (sections 3.4 and 5.6): 50 kbit/s to 2 Mbit/s.
BANDWIDTHS_KBPS = tuple(float(b) for b in np.geomspace(50.0, 2000.0, 17).round(1))
# A partition may lose at most this much top-1 against the best known.
ACCURACY_DROP = 0.01


@dataclass(frozen=True, eq=False)
class Decider:
    """All that decisions about one board need, and nothing that measures."""

    board: str
    network: Network
    candidates: tuple[Partition, ...]
    measured: Measured

    @classmethod
    def of(cls, run: Run, table: CostTable, network: Network, encoding: Encoding = RAW) -> Decider:
        """The decider of the board whose costs ``table`` holds, from the run's own record.

        Only splits that were evaluated are candidates, with the bytes and the accuracies of
        ``encoding``. DataError if the run has none for it.

        All splits were evaluated on the same images, so their accuracies rise and fall together
        with the choice of images. Decisions compare them as they are on these images; the
        intervals (two points wide either way for 1,000 images) are for the reader.
        """
        seen = recorded_accuracies(run)
        slices = {cut.name: [n for name, n in seen if name == cut.name] for cut in network.cuts}
        candidates = partitions(network, slices, SLICE_HEADER_BYTES)
        if encoding != RAW:
            points = coded_points(run, encoding)
            candidates = coded(candidates, points, encoding)
            seen |= {key: accuracy_interval(point.accuracy) for key, point in points.items()}
        board = table.provenance.board
        measured = Measured(
            table=table,
            cloud_s=recorded_tails(run),
            accuracy={key: Interval.exact(top1.median) for key, top1 in seen.items()},
            refused=dict(run.environment["boards"][board]["refused"]),
        )
        return cls(board, network, candidates, measured)

    def goal(self, target: Target, **limits: float | None) -> Goal:
        """The target with the default accuracy limit of a cost: ACCURACY_DROP below the best."""
        if "min_accuracy" not in limits and target in COSTS:
            best = max((a.median for a in self.measured.accuracy.values()), default=None)
            limits["min_accuracy"] = None if best is None else best - ACCURACY_DROP
        return Goal(target, **limits)

    def decide(self, radio: Radio, goal: Goal) -> Decision:
        return decide(self.candidates, self.measured, radio, goal)

    def sweep(
        self, radio: Radio, goal: Goal, bandwidths_kbps: Sequence[float] = BANDWIDTHS_KBPS
    ) -> Sweep:
        return sweep(self.candidates, self.measured, radio, goal, bandwidths_kbps)

    def price_all(self, radio: Radio) -> tuple[Priced, ...]:
        return tuple(price(candidate, self.measured, radio) for candidate in self.candidates)

    def designers(self) -> Iterator[PartitionDesigner]:
        """One for each of the paper's radios and targets, at the radio's own bandwidth."""
        for radio in RADIOS.values():
            for target in COSTS:
                yield PartitionDesigner(
                    self.candidates,
                    self.measured,
                    radio,
                    self.goal(target),
                    (radio.bandwidth_kbps,),
                )


def board_measurements_wanted(decider: Decider) -> dict[Wanted, str]:
    """What the optimizer wants repeated on the board, with its first reason."""
    wanted: dict[Wanted, str] = {}
    for designer in decider.designers():
        for suggestion in designer.suggest(8):
            if suggestion.wanted in (Wanted.LAYER_CYCLES, Wanted.LAYER_ENERGY):
                wanted.setdefault(
                    suggestion.wanted,
                    f"{suggestion.wanted} of layer {suggestion.layer}, {designer.radio.name} "
                    f"{suggestion.reason}",
                )
    return wanted


def further_workloads(
    wanted: dict[Wanted, str],
    inputs: np.ndarray,
    done: Sequence[Workload],
    settings: Settings,
    number: int,
) -> list[Workload]:
    """The campaign's own workloads once more, on images they have not used.

    A pass measures all layers at once, so there is no gain in asking for single ones.
    """
    further = []
    if Wanted.LAYER_CYCLES in wanted:
        model = next(w for w in done if w.kind is TrialKind.LAYERS)
        further += [
            replace(model, image=i, input_sha256=input_digest(inputs, i), repeats=2 + number)
            for i in range(min(3, len(inputs)))
        ]
    if Wanted.LAYER_ENERGY in wanted:
        model = next(w for w in done if w.kind is TrialKind.ENERGY and len(w.iterations) > 1)
        image = (settings.energy_sweeps + number) % len(inputs)
        further.append(replace(model, image=image, input_sha256=input_digest(inputs, image)))
    return further
