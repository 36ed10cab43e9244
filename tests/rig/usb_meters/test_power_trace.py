"""The simulators' input against integrals done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hil.sim.chip import EnergyBins, MarkerEdge
from hil.sim.instruments.power_trace import PowerTrace


def test_currents_are_averages_and_levels_those_of_the_middle() -> None:
    trace = PowerTrace(np.array([2.0, 4.0, 6.0]), 1.0, 2.0, [MarkerEdge(0.6, True)])
    # 0.5..1.5 s: half a bin of 2 W and half of 4 W at 2 V; beyond the end it stays at 6 W.
    assert trace.current_a(0.5, 1.0, 4) == pytest.approx([1.5, 2.5, 3.0, 3.0])
    assert trace.current_a(-1.5, 1.0, 2) == pytest.approx([1.0, 1.0])  # before it: the first bin
    assert trace.marker(0.0, 1.0, 3).tolist() == [False, True, True]
    assert trace.marker(0.1, 1.0, 1).tolist() == [True]


def test_a_chips_bins_begin_at_zero() -> None:
    bins = EnergyBins(first=100, bin_s=0.01, energy_j=np.array([0.02, 0.04]))
    trace = PowerTrace.from_bins(bins, 2.0, [MarkerEdge(1.005, True)])
    assert trace.current_a(0.0, 0.01, 2) == pytest.approx([1.0, 2.0])
    assert trace.edges[0].time_s == pytest.approx(0.005)
