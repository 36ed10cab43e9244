"""One board being measured: a workload in, a checked trial out.

The order of trust: the firmware's identity, then its cycle counter, then its outputs, and only
then its costs. Whatever fails is journalled as a void trial with who failed. After a failure that
may pass the board is brought back (hil.rig.recovery: reset, then power) and the trial repeated;
every step and every retry is journalled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from hil.core.console import RunFlag
from hil.core.cost import CostTable
from hil.core.errors import (
    HilError,
    InstrumentError,
    ProtocolError,
    TargetError,
    WrongOutputError,
)
from hil.core.network import Network
from hil.core.provenance import Provenance
from hil.core.secrets import masked
from hil.core.trial import (
    EMPTY_LAYER,
    OK,
    WHOLE_NETWORK,
    Attachment,
    EmptyWindow,
    Event,
    RunSample,
    SelfTestSample,
    Trial,
    TrialKind,
    Verdict,
    WindowSample,
    Workload,
    trial_key,
)
from hil.core.waveform import Waveform
from hil.loop.expected import Expected
from hil.loop.settings import Settings
from hil.loop.workloads import is_network_window, label
from hil.measure.clock import ClockRatio, clock_ratio, ratio_of_sweeps
from hil.measure.energy import PlannedWindow, measure_windows
from hil.measure.losses import accepted_losses
from hil.measure.overhead import meter_sees, overhead_of
from hil.measure.table import cost_table
from hil.rig import recovery
from hil.rig.bench import OpenRig
from hil.run.journal import Journal, utc_now
from hil.run.reader import Planned

# Failures of the moment: a damaged frame, a hung board, a serial port that went away.
PASSING = (*recovery.PASSING, InstrumentError)
# The counter and the independent timer run from clocks of the same chip; on a healthy board
# they differ by the loop's own few cycles.
SELF_TEST_TOLERANCE = 0.01
WAVEFORM_MEDIA_TYPE = "application/x-npz"
OUTPUT_MEDIA_TYPE = "application/octet-stream"

Report = Callable[[str], None]


class StoppedError(HilError):
    """The campaign is being ended; what is missing can be resumed."""


@dataclass
class _Parts:
    """What a trial has gathered so far; kept even when it fails."""

    runs: list[RunSample] = field(default_factory=list)
    windows: list[WindowSample] = field(default_factory=list)
    self_tests: list[SelfTestSample] = field(default_factory=list)
    empties: list[EmptyWindow] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)


class Session:
    """Runs workloads on an open rig whose board runs the right firmware."""

    def __init__(
        self,
        rig: OpenRig,
        network: Network,
        expected: Expected,
        provenance: Provenance,
        journal: Journal,
        settings: Settings,
        report: Report,
        stop: threading.Event,
    ) -> None:
        self.rig = rig
        self.network = network
        self.expected = expected
        self.provenance = provenance
        self.journal = journal
        self.settings = settings
        self.report = report
        self.stop = stop
        self._events: list[Event] = []
        self._board_image: int | None = None
        self._cycles_guess = 0.0
        rig.console.on_event = self._note

    def run(self, workloads: Iterable[Workload]) -> None:
        """Run those that the journal has no good trial of. Raises the error that voided one."""
        by_key = {self._key(workload): workload for workload in workloads}
        plans = [
            Planned(key, f"{self.provenance.board}: {label(workload)}")
            for key, workload in by_key.items()
        ]
        missing = self.journal.plan(plans)
        for number, plan in enumerate(missing, 1):
            if self.stop.is_set():
                raise StoppedError(f"{self.provenance.board}: stopped before {plan.label}")
            self.report(f"{plan.label} ({number}/{len(missing)})")
            self._run_one(by_key[plan.key])

    def _key(self, workload: Workload) -> str:
        origin = self.provenance
        return trial_key(origin.build_id, origin.rig, workload, origin.protocol)

    def _run_one(self, workload: Workload) -> None:
        error = self._attempt(workload)
        for step in recovery.steps(self.rig):
            if error is None or not isinstance(error, PASSING):
                break
            # The board's supply is not to blame for its meter: one retry, as after a reset.
            if step is recovery.power_cycle and isinstance(error, InstrumentError):
                break
            error = self._retry(workload, step, error)
        if error is not None:
            raise error

    def _retry(self, workload: Workload, step: recovery.Step, error: HilError) -> HilError | None:
        """Bring the board back by ``step`` and try once more; what is wrong now."""
        self.journal.event("retry", f"{label(workload)} after: {error}")
        self.report(f"  {error}; {step.__name__.replace('_', '-')}, and once more")
        self._board_image = None
        # Between two trials, what the console has to tell belongs to the run.
        self.rig.console.on_event = self.journal.event
        try:
            if isinstance(error, InstrumentError):  # first: some meters power the board
                recovery.set_up_meter(self.rig, self.journal.event)
            step(self.rig, self.journal.event)
        except HilError as failure:
            self.journal.event("not recovered", f"{label(workload)}: {failure}")
            return failure if isinstance(failure, PASSING) else error
        finally:
            self.rig.console.on_event = self._note
        return self._attempt(workload)

    def _attempt(self, workload: Workload) -> HilError | None:
        """Record one trial; returns the error that voided it."""
        started, parts, verdict, error = utc_now(), _Parts(), OK, None
        self._events = []
        try:
            self._perform(workload, parts)
        except HilError as failure:
            error = self._blamed(failure)
            verdict = Verdict.void(error)
        if self._disturbances():  # the board may have lost its input
            self._board_image = None
        self.journal.record(
            Trial(
                key=self._key(workload),
                workload=workload,
                provenance=self.provenance,
                verdict=verdict,
                started=started,
                finished=utc_now(),
                runs=tuple(parts.runs),
                windows=tuple(parts.windows),
                self_tests=tuple(parts.self_tests),
                empties=tuple(parts.empties),
                events=tuple(self._events),
                attachments=tuple(parts.attachments),
            )
        )
        return error

    def _disturbances(self) -> list[str]:
        """What the console could not make sense of since the trial began."""
        return [event.detail for event in self._events if event.what == "resync"]

    def _blamed(self, error: HilError) -> HilError:
        """A board that restarts loses its input, and the line can lose its announcement: behind a
        disturbance of the line, wrong outputs are no proof of wrong code."""
        disturbances = self._disturbances()
        if not isinstance(error, WrongOutputError) or not disturbances:
            return error
        return ProtocolError(
            f"{error}. The line was disturbed in this trial ({disturbances[0]}): it may have lost "
            "that the board restarted"
        )

    def _note(self, what: str, detail: str) -> None:
        self._events.append(Event(utc_now(), what, masked(detail)))

    def _perform(self, workload: Workload, parts: _Parts) -> None:
        if workload.kind is TrialKind.SELF_TEST:
            self._self_test(workload, parts)
            return
        if workload.kind is TrialKind.OVERHEAD:
            self._empty_windows(workload, parts)
            return
        self._load(workload.image)
        self.rig.console.set_partition(workload.layers)
        if workload.kind is TrialKind.ENERGY:
            if is_network_window(workload):
                self._network_window(workload, parts)
            else:
                self._sweep(workload, parts)
        else:
            self._passes(workload, parts)

    def _load(self, image: int) -> None:
        if self._board_image != image:
            self._board_image = None
            self.rig.console.load_input(self.expected.inputs[image].tobytes())
            self._board_image = image

    def _self_test(self, workload: Workload, parts: _Parts) -> None:
        for _ in range(workload.repeats):
            sample = self.rig.console.self_test()
            parts.self_tests.append(sample)
            counted, reference = sample.counter_cycles, sample.reference_cycles
            if reference == 0 or abs(counted / reference - 1) > SELF_TEST_TOLERANCE:
                raise TargetError(
                    f"{self.provenance.board}: the cycle counter counted {counted}, an independent "
                    f"timer {reference} cycles for the same loop; the counter is off or its clock "
                    "is not what the firmware says. No cost from this board can be trusted"
                )

    def _empty_windows(self, workload: Workload, parts: _Parts) -> None:
        """Count what marker and counter add; let the meter look where it is fast enough."""
        count, console, meter = workload.repeats, self.rig.console, self.rig.meter
        parts.empties += console.empty_windows(count, self.settings.gap_us)
        clock_hz, interval_s = self.provenance.clock_hz, meter.sample_interval_s
        cycles = median(empty.fall + empty.passed for empty in parts.empties)
        if not meter_sees(cycles, clock_hz, interval_s):
            return
        with meter.acquisition(count * (cycles / clock_hz + self.settings.gap_us * 1e-6)) as seen:
            empties = console.empty_windows(count, self.settings.gap_us)
            waveform = seen.read()
        parts.empties += empties
        self._keep(waveform, "empty", parts)
        plans = [PlannedWindow(EMPTY_LAYER, 1, empty.passed) for empty in empties]
        marker_cycles = median(empty.fall for empty in parts.empties)
        max_lost = self._max_lost(waveform)
        parts.windows += measure_windows(
            waveform,
            plans,
            clock_hz,
            0,
            max_lost=max_lost,
            marker_cycles=marker_cycles,
            gap_s=self._gap_s,
        )

    def _passes(self, workload: Workload, parts: _Parts) -> None:
        """Timed passes; the outputs of each are checked before the next."""
        flags = RunFlag.DIGEST
        if workload.kind is TrialKind.NETWORK:
            flags |= RunFlag.TOTAL_ONLY
        for repeat in range(workload.warmups + workload.repeats):
            result = self.rig.console.run(
                iterations=workload.iterations[0], flags=flags, expected_s=self._expected_s(2)
            )
            digests = self.rig.console.read_digests(workload.layers)
            self.expected.check_digests(workload.image, digests, self.provenance.board)
            warmup = repeat < workload.warmups
            parts.runs.append(RunSample(warmup, result.iterations, result.cycles, result.layers))
            self._cycles_guess = max(self._cycles_guess, result.cycles / result.iterations)
        if workload.kind is TrialKind.NETWORK:
            # What would go on the air: kept, so that the cloud can be tried with it.
            output = self._check_output(workload)
            parts.attachments.append(self.journal.attach("output.bin", output, OUTPUT_MEDIA_TYPE))

    def _expected_s(self, passes: float) -> float:
        """Board time of whole passes, from the longest one seen; 2 s before the first."""
        if not self._cycles_guess:
            return 2.0
        return passes * self._cycles_guess / self.provenance.clock_hz

    def _network_window(self, workload: Workload, parts: _Parts) -> None:
        """One marked window around all passes."""
        (passes,) = workload.iterations
        busy_s = self._expected_s(passes)
        console = self.rig.console
        # Outputs first, unmarked: the digest pass must not be inside the window.
        console.run(flags=RunFlag.DIGEST | RunFlag.TOTAL_ONLY, expected_s=self._expected_s(2))
        digests = console.read_digests(workload.layers)
        self.expected.check_digests(workload.image, digests, self.provenance.board)
        with self.rig.meter.acquisition(busy_s) as acquisition:
            result = console.run(
                iterations=passes,
                flags=RunFlag.MARKER | RunFlag.TOTAL_ONLY,
                expected_s=busy_s,
            )
            waveform = acquisition.read()
        self._keep(waveform, "network", parts)
        window = PlannedWindow(WHOLE_NETWORK, passes, result.cycles)
        parts.windows += measure_windows(
            waveform,
            (window,),
            self.provenance.clock_hz,
            0,
            max_lost=self._max_lost(waveform),
            marker_cycles=self._marker_cycles(),
            expected=self._expected_ratio(waveform),
            gap_s=self._gap_s,
        )
        self._check_output(workload)

    def _sweep(self, workload: Workload, parts: _Parts) -> None:
        """One marked window a layer."""
        counts, console = workload.iterations, self.rig.console
        table = self.table()
        busy_s = (
            sum(n * row.cycles.median for n, row in zip(counts, table.rows, strict=True))
            / self.provenance.clock_hz
            + (len(counts) + 1) * self.settings.gap_us * 1e-6
        )
        with self.rig.meter.acquisition(busy_s) as acquisition:
            cycles = console.repeat_layers(0, self.settings.gap_us, counts, expected_s=busy_s)
            waveform = acquisition.read()
        self._keep(waveform, "sweep", parts)
        windows = tuple(map(PlannedWindow, range(len(counts)), counts, cycles))
        ratio = self._clock_ratio(waveform, cycles)
        clock_hz = self.provenance.clock_hz
        parts.windows += measure_windows(
            waveform,
            windows,
            clock_hz,
            0,
            ratio=ratio,
            max_lost=self._max_lost(waveform),
            marker_cycles=self._marker_cycles(),
            gap_s=self._gap_s,
        )
        self._check_output(workload)

    def _clock_ratio(self, waveform: Waveform, cycles: Sequence[int]) -> ClockRatio | None:
        """The meter's clock to the board's; a single window would only confirm itself."""
        if len(cycles) < 2:
            return None
        ratio = clock_ratio(
            waveform,
            cycles,
            self.provenance.clock_hz,
            self._marker_cycles(),
            self._max_lost(waveform),
        )
        ratio.check()
        return ratio

    def _expected_ratio(self, waveform: Waveform) -> ClockRatio | None:
        """What the sweeps so far tell of the clocks, to check a window that has no ratio."""
        ours = (t for t in self.journal.finished.values() if t.provenance == self.provenance)
        windows = (window for trial in ours if trial.ok for window in trial.timed_windows())
        return ratio_of_sweeps(windows, waveform.edge_uncertainty_s)

    @property
    def _gap_s(self) -> float:
        """How long the board is quiet before a window."""
        return self.settings.gap_us * 1e-6

    def _max_lost(self, waveform: Waveform) -> int:
        """Lost samples that the rig file accepts."""
        return accepted_losses(waveform, self.rig.rig.meter.lost_samples_per_million)

    def _marker_cycles(self) -> float:
        """What lies between the marker's edges beside the board's count, as far as measured."""
        overhead = overhead_of(self.journal.finished.values(), self.provenance)
        return 0.0 if overhead is None else overhead.marker_cycles

    def _check_output(self, workload: Workload) -> bytes:
        size = self.network.tensors[workload.layers].size_bytes
        output = self.rig.console.read_tensor(workload.layers, size)
        self.expected.check_output(workload.image, workload.layers, output, self.provenance.board)
        return output

    def _keep(self, waveform: Waveform, name: str, parts: _Parts) -> None:
        data = waveform.to_bytes()
        parts.attachments.append(self.journal.attach(f"{name}.npz", data, WAVEFORM_MEDIA_TYPE))

    def table(self) -> CostTable:
        """The board's costs as journalled so far."""
        return cost_table(self.network, self.provenance, self.journal.finished.values())
