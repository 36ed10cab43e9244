"""What a marked window holds beside the work: the marker's own stores and the counter's reads.

Measured with windows around a layer that does nothing. In time:

    edge | marker's return | look | pass, look | ... | pass, look | marker's call | edge
         |<-- outside ---->|<----- the board's count ------------>|<-- outside -->|

Outside lies once a window what one change of the marker takes from look to look: its return at
the rise and its call at the fall. The span around the fall is that sum but for an instruction,
wherever inside the call the pin changes. The span around the rise differs by what the compiler
puts in front of it, and the first window finds empty caches; how far any span lies from the
median bounds what a window among layers may have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median, stdev

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.overhead import Overhead
from hil.core.provenance import Provenance
from hil.core.trial import Trial, TrialKind, WindowSample
from hil.measure.energy import WindowEnergy, per_pass

# The meter tells an empty window's energy when it takes at least so many samples of it.
MIN_SAMPLES = 10
# Most that code which marks and counts draws beside what a window or its base does.
MOST_POWER = 1.3


@dataclass(frozen=True)
class MarkerOverhead:
    """Time and energy that are not work in one window; the uncertainty is a standard one."""

    duration_s: float
    energy_uj: float
    uncertainty_uj: float

    @classmethod
    def stated(
        cls, cycles: float, clock_hz: float, window: WindowEnergy, uncertainty: float = 0.0
    ) -> MarkerOverhead:
        """From ``cycles``, known to a standard ``uncertainty`` of cycles, for one window.

        What the board draws meanwhile is taken for the middle of its base and the window's power.
        Code that works and waits otherwise than both may draw more than either: the limit of a
        uniform distribution reaches beyond the larger one.
        """
        if not (cycles >= 0 and clock_hz > 0):
            raise InstrumentError(f"a marker overhead of {cycles} cycles at {clock_hz} Hz")
        duration_s = cycles / clock_hz
        middle_w = (window.power_w + window.base_power_w) / 2
        off_w = MOST_POWER * max(window.power_w, window.base_power_w) - middle_w
        power_uj = off_w / math.sqrt(3) * duration_s * 1e6
        cycles_uj = middle_w * uncertainty / clock_hz * 1e6
        return cls(duration_s, middle_w * duration_s * 1e6, math.hypot(power_uj, cycles_uj))

    @classmethod
    def measured(cls, empty: Sequence[WindowEnergy]) -> MarkerOverhead:
        """The mean of empty windows, at least two: only their spread tells how good it is."""
        if len(empty) < 2:
            raise InstrumentError(
                f"{len(empty)} empty windows; the marker's overhead needs at least 2, better 10"
            )
        energies = np.array([window.energy_uj for window in empty])
        edges = np.array([window.edge_uncertainty_uj for window in empty]) / math.sqrt(3)
        spread = energies.std(ddof=1)
        random = math.hypot(spread, math.sqrt(float((edges**2).mean()))) / math.sqrt(len(empty))
        blind = float(np.mean([window.edge_limit_uj for window in empty])) / math.sqrt(3)
        uncertainty = math.hypot(random, blind)
        duration_s = float(np.mean([window.duration_s for window in empty]))
        return cls(duration_s, float(energies.mean()), uncertainty)

    def scaled(self, factor: float) -> MarkerOverhead:
        """As much of it; the uncertainty is that of one cause and scales as well."""
        return MarkerOverhead(
            self.duration_s * factor, self.energy_uj * factor, self.uncertainty_uj * factor
        )

    def subtracted(self, window: WindowEnergy) -> WindowEnergy:
        """``window`` without the marker. InstrumentError when nothing would be left."""
        left = replace(
            window,
            energy_uj=window.energy_uj - self.energy_uj,
            duration_s=window.duration_s - self.duration_s,
        )
        if left.duration_s <= 0:
            raise InstrumentError(
                f"a window of {window.duration_s:.3g} s is not longer than the marker's own "
                f"{self.duration_s:.3g} s; repeat the work more often in it"
            )
        return left


def meter_sees(cycles: float, clock_hz: float, sample_interval_s: float) -> bool:
    """Whether an empty window of ``cycles`` is long enough for the meter."""
    return cycles / clock_hz >= MIN_SAMPLES * sample_interval_s


def overhead_of(trials: Iterable[Trial], provenance: Provenance) -> Overhead | None:
    """From all good trials with empty windows of ``provenance``; None where there is none.

    Journals of before console protocol 2 have none: nothing is known, nothing subtracted.
    """
    ours = [
        t for t in trials if t.ok and t.kind is TrialKind.OVERHEAD and t.provenance == provenance
    ]
    empties = [empty for trial in ours for empty in trial.empties]
    if not empties:
        return None
    marker = median(empty.fall for empty in empties)
    farthest = max(abs(span - marker) for empty in empties for span in (empty.rise, empty.fall))
    warm = [empty.passed for trial in ours for empty in trial.empties[1:]]
    seen = [window for trial in ours for window in trial.timed_windows()]
    metered = MarkerOverhead.measured([per_pass(window) for window in seen]) if seen else None
    return Overhead(
        marker_cycles=marker,
        pass_cycles=median(empty.passed for empty in empties),
        layer_cycles=median(empty.layer for empty in empties),
        marker_uncertainty=farthest / math.sqrt(3),
        pass_uncertainty=stdev(warm) if len(warm) > 1 else 0.0,
        windows=len(empties),
        energy_uj=None if metered is None else metered.energy_uj,
        energy_uncertainty_uj=0.0 if metered is None else metered.uncertainty_uj,
    )


def in_window(overhead: Overhead, window: WindowSample, clock_hz: float) -> MarkerOverhead:
    """What is not work in ``window``: the marker once, a look at the counter a pass.

    The energy is the meter's of empty windows in proportion to the cycles, or else that of the
    cycles at an assumed power (MarkerOverhead.stated).
    """
    passes = window.iterations
    cycles = overhead.marker_cycles + passes * overhead.pass_cycles
    uncertainty = math.hypot(overhead.marker_uncertainty, passes * overhead.pass_uncertainty)
    whole = WindowEnergy(window.energy_uj, window.duration_s, 0.0, window.base_power_w)
    if overhead.energy_uj is None:
        return MarkerOverhead.stated(cycles, clock_hz, whole, uncertainty)
    empty_cycles = overhead.marker_cycles + overhead.pass_cycles
    seen = MarkerOverhead(
        empty_cycles / clock_hz, overhead.energy_uj, overhead.energy_uncertainty_uj
    ).scaled(cycles / empty_cycles)
    cycles_uj = overhead.energy_uj * uncertainty / empty_cycles
    return replace(seen, uncertainty_uj=math.hypot(seen.uncertainty_uj, cycles_uj))


def without(window: WindowSample, overhead: Overhead, clock_hz: float) -> WindowSample:
    """``window`` with the cycles, time and energy of its work alone."""
    marker = in_window(overhead, window, clock_hz)
    left = marker.subtracted(
        WindowEnergy(window.energy_uj, window.duration_s, 0.0, window.base_power_w)
    )
    return replace(
        window,
        cycles=round(window.cycles - window.iterations * overhead.pass_cycles),
        duration_s=left.duration_s,
        energy_uj=left.energy_uj,
    )
