"""What must hold whatever happens on the wires; each breach is told in words.

No wrong cost: every cycle count of a good trial is one that the chip has really sent (the twin
keeps what left the chip, before any noise) and lies beside the undisturbed run's, and every energy
agrees with that of the undisturbed run. Nothing lost: a journal only grows. No hang: the process
ended before its deadline. Typed: every failure names one of those who can have caused it.
"""

from __future__ import annotations

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

# A virtual chip's cycles depend a little on what ran before (branch prediction, caches): two
# undisturbed runs differ by up to 0.15 %. A wrong partition, layer or count differs by far more.
CYCLES_TOLERANCE = 0.005
# Two undisturbed energies differ by less than 0.02 %; cycles' share comes on top.
ENERGY_TOLERANCE = 0.005


@dataclass(frozen=True)
class Reference:
    """The undisturbed run's good trials by key."""

    trials: dict[str, Trial]

    @classmethod
    def of(cls, run: Run) -> Reference:
        return cls({trial.key: trial for trial in run.ok_trials()})


def wrong_costs(run: Run, reference: Reference, sent: bytes) -> Iterator[str]:
    """Costs of good trials that are not what the chip has sent, or not beside the reference."""
    counted = _Counted.of(sent)
    for trial in run.trials:
        if not trial.ok:
            continue
        name = f"{trial.kind.value} {trial.key[:8]}"
        expected = reference.trials.get(trial.key)
        if expected is None:
            yield f"{name}: a trial that the undisturbed run has not got"
            continue
        yield from _wrong_runs(name, trial, expected, counted)
        yield from _wrong_windows(name, trial, expected, counted)
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


def _wrong_runs(name: str, trial: Trial, expected: Trial, counted: _Counted) -> Iterator[str]:
    if len(trial.runs) != len(expected.runs):
        yield f"{name}: {len(trial.runs)} passes, {len(expected.runs)} were asked for"
        return
    for run, right in zip(trial.runs, expected.runs, strict=True):
        rows = tuple((x.total, x.compute, x.copy) for x in run.layers)
        if (run.iterations, run.cycles, rows) not in counted.runs:
            yield f"{name}: the chip never sent {run}"
        if not _beside(run, right):
            yield f"{name}: {run} is far from the undisturbed {right}"


def _beside(run: RunSample, right: RunSample) -> bool:
    pairs = [(run.cycles, right.cycles)]
    pairs += [(a.total, b.total) for a, b in zip(run.layers, right.layers, strict=False)]
    return (
        (run.iterations, len(run.layers), run.warmup)
        == (right.iterations, len(right.layers), right.warmup)
    ) and all(abs(a - b) <= CYCLES_TOLERANCE * b for a, b in pairs)


def _wrong_windows(name: str, trial: Trial, expected: Trial, counted: _Counted) -> Iterator[str]:
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
        if not _agrees(window, right):
            yield (
                f"{name}: window of layer {window.layer}: {window.energy_uj:.4f} uJ in "
                f"{window.iterations} passes, undisturbed {right.energy_uj:.4f} uJ in "
                f"{right.iterations}"
            )


def _wrong_empties(name: str, trial: Trial, counted: _Counted) -> Iterator[str]:
    for empty in trial.empties:
        if (empty.rise, empty.passed, empty.fall, empty.layer) not in counted.empties:
            yield f"{name}: the chip never sent {empty}"


def _agrees(window: WindowSample, right: WindowSample) -> bool:
    slack_uj = window.edge_uncertainty_uj + right.edge_uncertainty_uj
    misfit_uj = abs(window.energy_uj - right.energy_uj)
    same = (window.layer, window.iterations) == (right.layer, right.iterations)
    base_w = abs(window.base_power_w - right.base_power_w)
    return (
        same
        and misfit_uj <= ENERGY_TOLERANCE * right.energy_uj + slack_uj
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
