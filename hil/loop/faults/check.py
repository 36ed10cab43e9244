"""What must hold whatever happens on the wires; each breach is told in words.

No wrong cost: every cycle count of a good trial is one that the chip has really sent (the twin
keeps what left the chip, before any noise) and lies beside the undisturbed run's, and every energy
a pass agrees with that of the undisturbed run. Nothing lost: a journal only grows. No hang: the
process ended before its deadline. Typed: every failure names one of those who can have caused it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hil.core.console import EMPTY_WINDOW, LAYER_CYCLES, RESPONSE, RUN_DONE, Message
from hil.core.errors import HilError
from hil.core.trial import RunSample, Trial, TrialKind, WindowSample
from hil.loop.faults.kinds import CULPRIT_OF, Plan
from hil.loop.faults.measuring import Ending
from hil.rig.frames import Frame, FrameParser
from hil.run.reader import Run


@dataclass(frozen=True)
class Tolerance:
    """By what part two sound runs may differ: cycles of one pass and of a window's passes, energy.

    A virtual chip's cycles depend on what ran before. A wrong partition, layer or count differs by
    far more. Energies may differ by what the cycles do besides.
    """

    run: float
    window: float
    energy: float


# Branch prediction and caches: two undisturbed runs differ by up to 0.15 % of the cycles and 0.02 %
# of the energy.
TOLERANCE = Tolerance(run=0.005, window=0.005, energy=0.005)
# The first pass after a reset fills GAP8's instruction caches, which costs up to 1700 cycles: 16 %
# of a pass here, 1 % of a window. Another partition or layer differs by 40 % and more. Its windows
# end anywhere in the meter's samples, so that two clock ratios differ by up to 1.2 %.
TOLERANCES = {"gap8": Tolerance(run=0.25, window=0.02, energy=0.015)}

# Kind, layers, image, whether the windows mark layers. How often a window repeats follows from
# the cycles measured before, and differs between sound runs too.
Measurand = tuple[TrialKind, int, int, bool]


def _measurand(trial: Trial) -> Measurand:
    workload = trial.workload
    return workload.kind, workload.layers, workload.image, len(workload.iterations) > 1


@dataclass(frozen=True)
class Reference:
    """The undisturbed run's good trials by what they measure."""

    trials: dict[Measurand, Trial]
    tolerance: Tolerance

    @classmethod
    def of(cls, run: Run, board: str) -> Reference:
        trials = {_measurand(trial): trial for trial in run.ok_trials()}
        return cls(trials, TOLERANCES.get(board, TOLERANCE))


def wrong_costs(run: Run, reference: Reference, sent: bytes) -> Iterator[str]:
    """Costs of good trials that are not what the chip has sent, or not beside the reference."""
    counted = _Counted.of(sent)
    for trial in run.trials:
        if not trial.ok:
            continue
        name = f"{trial.kind.value} {trial.key[:8]}"
        expected = reference.trials.get(_measurand(trial))
        if expected is None:
            yield f"{name}: a trial that the undisturbed run has not got"
            continue
        tolerance = reference.tolerance
        yield from _wrong_runs(name, trial, expected, counted, tolerance)
        yield from _wrong_windows(name, trial, expected, counted, tolerance)
        yield from _wrong_empties(name, trial, counted)
        yield from _lost_attachments(name, trial, run)


@dataclass(frozen=True)
class _Counted:
    """What the chip has sent: answers to RUN, and cycles of all windows of a REPEAT_LAYERS and
    of each empty window."""

    runs: frozenset[tuple[int, int, tuple[tuple[int, ...], ...]]]
    sweeps: frozenset[tuple[int, ...]]
    empties: frozenset[tuple[int, ...]]

    @classmethod
    def of(cls, sent: bytes) -> _Counted:
        runs, sweeps, empties = set(), set(), set()
        for item in FrameParser().feed(sent):
            if not isinstance(item, Frame):
                continue
            if item.type == Message.RUN | RESPONSE:
                head, table = item.payload[: RUN_DONE.size], item.payload[RUN_DONE.size :]
                runs.add((*RUN_DONE.unpack(head), tuple(LAYER_CYCLES.iter_unpack(table))))
            elif item.type == Message.REPEAT_LAYERS | RESPONSE:
                sweeps.add(struct.unpack(f"<{len(item.payload) // 8}Q", item.payload))
            elif item.type == Message.EMPTY_WINDOWS | RESPONSE:
                empties |= set(EMPTY_WINDOW.iter_unpack(item.payload))
        return cls(frozenset(runs), frozenset(sweeps), frozenset(empties))


def _wrong_runs(
    name: str, trial: Trial, expected: Trial, counted: _Counted, tolerance: Tolerance
) -> Iterator[str]:
    if len(trial.runs) != len(expected.runs):
        yield f"{name}: {len(trial.runs)} passes, {len(expected.runs)} were asked for"
        return
    for run, right in zip(trial.runs, expected.runs, strict=True):
        rows = tuple((x.total, x.compute, x.copy) for x in run.layers)
        if (run.iterations, run.cycles, rows) not in counted.runs:
            yield f"{name}: the chip never sent {run}"
        if not _beside(run, right, tolerance.run):
            yield f"{name}: {run} is far from the undisturbed {right}"


def _beside(run: RunSample, right: RunSample, tolerance: float) -> bool:
    pairs = [(run.cycles, right.cycles)]
    pairs += [(a.total, b.total) for a, b in zip(run.layers, right.layers, strict=False)]
    return (
        (run.iterations, len(run.layers), run.warmup)
        == (right.iterations, len(right.layers), right.warmup)
    ) and all(abs(a - b) <= tolerance * b for a, b in pairs)


def _wrong_windows(
    name: str, trial: Trial, expected: Trial, counted: _Counted, tolerance: Tolerance
) -> Iterator[str]:
    if len(trial.windows) != len(expected.windows):
        yield f"{name}: {len(trial.windows)} windows, {len(expected.windows)} were asked for"
        return
    cycles = tuple(window.cycles for window in trial.windows)
    totals = {cycles for _, cycles, _ in counted.runs}
    if (
        trial.kind is TrialKind.ENERGY
        and cycles not in counted.sweeps
        and not (len(cycles) == 1 and cycles[0] in totals)
    ):
        yield f"{name}: the chip never sent windows of {cycles} cycles"
    for window, right in zip(trial.windows, expected.windows, strict=True):
        if not _agrees(window, right, tolerance):
            yield (
                f"{name}: window of layer {window.layer}: {window.energy_uj:.4f} uJ in "
                f"{window.iterations} passes, undisturbed {right.energy_uj:.4f} uJ in "
                f"{right.iterations}"
            )


def _wrong_empties(name: str, trial: Trial, counted: _Counted) -> Iterator[str]:
    for empty in trial.empties:
        if (empty.rise, empty.passed, empty.fall, empty.layer) not in counted.empties:
            yield f"{name}: the chip never sent {empty}"


def _time_off(window: WindowSample) -> float:
    """How far a window's time may be off, as a part of it: by its ratio, or by its two edges."""
    if window.clock_windows:
        return math.sqrt(3) * window.clock_uncertainty
    return 1 / window.meter_samples


def _agrees(window: WindowSample, right: WindowSample, tolerance: Tolerance) -> bool:
    """Per pass, since the passes of a window follow from cycles measured before.

    Energy is taken apart into power and time: a clock ratio from two short windows is wide, edges
    without one lie anywhere in a sample, and both move the time alone.
    """
    passes, right_passes = window.iterations, right.iterations
    power_w, right_w = window.energy_uj / window.duration_s, right.energy_uj / right.duration_s
    edges = window.edge_uncertainty_uj / window.energy_uj + (
        right.edge_uncertainty_uj / right.energy_uj
    )
    time_s, right_s = window.duration_s / passes, right.duration_s / right_passes
    clocks = _time_off(window) + _time_off(right)
    misfit_cycles = abs(window.cycles / passes / (right.cycles / right_passes) - 1)
    base_w = abs(window.base_power_w - right.base_power_w)
    return (
        window.layer == right.layer
        and misfit_cycles <= tolerance.window
        and abs(power_w / right_w - 1) <= tolerance.energy + misfit_cycles + edges
        and abs(time_s / right_s - 1) <= tolerance.energy + misfit_cycles + clocks
        # The base is told beside the energy, and belongs to the cost.
        and base_w <= 0.05 * right.base_power_w
    )


def _lost_attachments(name: str, trial: Trial, run: Run) -> Iterator[str]:
    for attachment in trial.attachments:
        try:
            run.attachment(attachment)
        except HilError as error:
            yield f"{name}: {error}"


def wrong_ending(ending: Ending, plan: Plan, run: Run | None, deadline_s: float) -> Iterator[str]:
    """A hang, a traceback, or a failure put down to somebody who had no part in it."""
    if ending.hung:
        yield f"hung: still running after its deadline of {deadline_s:.0f} s"
    if ending.crash:
        yield f"not an error of the bench: {ending.crash}"
    trials = () if run is None else run.void_trials()
    told = [(trial.verdict.who, trial.verdict.reason) for trial in trials]
    for who, text in dict.fromkeys([*told, *ending.failures]):
        if CULPRIT_OF.get(who) not in plan.culprits:
            blamed = "/".join(sorted(plan.culprits)) or "nobody"
            yield f"put down to {who}, it was {blamed}: {text}"


def lost_lines(before: bytes, after: bytes) -> Iterator[str]:
    """Whole lines of the journal as the failure left it that the resumed one has not got."""
    whole = before[: before.rfind(b"\n") + 1]
    if not after.startswith(whole):
        yield f"the journal's first {len(whole)} bytes have changed"


def measured_twice(trials: Iterable[Trial]) -> Iterator[str]:
    """Good trials of one key: what was measured was measured again, so it had been lost."""
    seen: set[str] = set()
    for trial in trials:
        if trial.ok and trial.key in seen:
            yield f"{trial.kind.value} {trial.key[:8]}: measured again after it was good"
        seen |= {trial.key} if trial.ok else set()
