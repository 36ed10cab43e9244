"""A steady current as the rig's meter tells it, uncorrected: what a calibration compares."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.rig.bench import open_meter, start
from hil.rig.lock import locked
from hil.rig.rigfile import Rig
from hil.rig.twin_process import TwinCommand, twin_command

LONGEST_S = 10.0


@dataclass(frozen=True)
class SteadyCurrent:
    """``spread_a`` is the samples' standard deviation, ``series_ohms`` the meter's own shunt."""

    mean_a: float
    spread_a: float
    samples: int
    sample_interval_s: float
    supply_v: float
    series_ohms: float
    meter: str
    origin: Origin

    @classmethod
    def of(cls, waveform: Waveform) -> SteadyCurrent:
        """InstrumentError over clipped or missing samples: their average is none."""
        if waveform.overload or waveform.lost_samples or not len(waveform):
            raise InstrumentError(
                f"{waveform.meter}: {len(waveform)} samples, {waveform.lost_samples} lost, "
                f"overload {waveform.overload}: no average; choose another [meter] range_a or "
                "sample_rate_hz"
            )
        current_a = waveform.current_a.astype(np.float64)
        return cls(
            float(np.mean(current_a)),
            float(np.std(current_a)),
            len(waveform),
            waveform.sample_interval_s,
            waveform.supply_v,
            waveform.series_ohms,
            waveform.meter,
            waveform.origin,
        )


def read_steady(rig: Rig, duration_s: float, command: TwinCommand = twin_command) -> SteadyCurrent:
    """``duration_s`` of the rig's meter, without a stored calibration; the board is left alone.

    InstrumentError: the meter; RigError: somebody else uses it, or the twin does not start.
    """
    if not 0.0 < duration_s <= LONGEST_S:
        raise InstrumentError(f"a duration of {duration_s:g} s; above 0 and up to {LONGEST_S:g}")
    raw = replace(rig, meter=replace(rig.meter, calibration="none"))
    with ExitStack() as stack:
        places = start(raw, stack, command)
        if rig.virtual is None:
            stack.enter_context(locked([places.parts["meter"]], rig.name))
        meter = open_meter(raw, places, stack)
        with meter.acquisition(duration_s) as acquisition:
            return SteadyCurrent.of(acquisition.read())
