"""A session's window around the network, on a meter that loses samples and does not tell."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin, Provenance
from hil.core.trial import OK, Trial, TrialKind, WindowSample, Workload, trial_key
from hil.core.waveform import Waveform
from hil.loop.session import Session, _Parts
from hil.loop.settings import Settings

DT_S, CLOCK_HZ, RATIO = 1e-5, 100_000_000, 1.011
ORIGIN = Provenance(
    cycles_origin=Origin.SIMULATED, energy_origin=Origin.MODELLED, board="gap8", chip_id="00",
    clock_hz=CLOCK_HZ, toolchain="zig", build_id="b" * 64, network="net", network_digest="d" * 64,
    timing_model="t1", meter="m1", rig="virtual", protocol=1,
)  # fmt: skip
NETWORK = Workload(TrialKind.ENERGY, 3, 0, "e" * 64, (7,))


def swept(provenance: Provenance) -> Trial:
    window = WindowSample(
        False, 0, 0, 1, 1000, 0.01, 1000, 900.0, 0.6, 0.03, 3.3,
        clock_ratio=RATIO, clock_uncertainty=1e-5, clock_windows=3,
    )  # fmt: skip
    work = Workload(TrialKind.ENERGY, 3, 0, "e" * 64, (1, 1, 1))
    key = trial_key(provenance.build_id, provenance.rig, work, provenance.protocol)
    return Trial(key, work, provenance, OK, "", "", windows=(window,))


def session(samples: int, trials: list[Trial]) -> Session:
    """The board counts 6000 samples' time by its own clock; ``samples`` of them are there."""
    marker = np.repeat([False, True, False], (60, samples, 60))
    current_a = np.where(marker, 0.03, 0.01).astype(np.float32)
    waveform = Waveform(
        0.0, DT_S, current_a, marker, 3.3, 0.1, False, 0, "meter 7", Origin.MODELLED
    )
    rig, journal = MagicMock(), MagicMock()

    @contextmanager
    def acquisition(_duration_s: float):
        yield SimpleNamespace(read=lambda: waveform)

    rig.meter.acquisition = acquisition
    rig.console.run.return_value = SimpleNamespace(cycles=round(6000 * DT_S * CLOCK_HZ / RATIO))
    rig.rig.meter.lost_samples_per_million = 0
    journal.finished = dict(enumerate(trials))
    quiet = MagicMock()
    return Session(
        rig, MagicMock(), MagicMock(), ORIGIN, journal, Settings(), quiet, threading.Event()
    )


def test_what_sweeps_tell_of_the_clocks_finds_untold_losses() -> None:
    parts = _Parts()
    session(6000, [swept(ORIGIN)])._network_window(NETWORK, parts)
    (window,) = parts.windows
    assert (window.clock_windows, window.iterations) == (0, 7)
    with pytest.raises(InstrumentError, match=r"window 0 lasts 0\.0594 s by the marker"):
        session(5940, [swept(ORIGIN)])._network_window(NETWORK, parts)


def test_sweeps_of_something_else_tell_nothing() -> None:
    other = replace(ORIGIN, build_id="c" * 64)
    parts = _Parts()
    session(5940, [swept(other)])._network_window(NETWORK, parts)
    assert len(parts.windows) == 1
