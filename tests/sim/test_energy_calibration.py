"""The energy tables against the published figures that they are scaled to, by hand and by running.

Everything here is modelled; the tests say that the model adds up to its sources, no more.
"""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.errors import SimulationError
from hil.sim.cores.cortex_m7.costs import INSTRUCTION_J
from hil.sim.cores.cortex_m7.op import Kind
from hil.sim.socs.gap8 import energy
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.stm32f7 import power

# GAP8, busy: all eight cores awake in a convolution kernel. A load every two cycles, a dot product
# every four (PULP-NN's inner loop: 8 loads and 32 MACs in 14 cycles at best), the FC asleep.
LOADS_A_CYCLE, PACKED_A_CYCLE, CORES = 0.5, 0.25, 8


def _joules() -> dict[int, float]:
    return {row.term: row.joules for row in energy.COEFFICIENTS}


def _busy_power_w(clock_hz: float) -> float:
    joule = _joules()
    cycle_j = joule[L.E_PE_CYCLES] + LOADS_A_CYCLE * joule[L.E_L1]
    cycle_j += PACKED_A_CYCLE * joule[L.E_PACKED]
    return CORES * clock_hz * cycle_j + joule[L.E_SECONDS] + joule[L.E_CLUSTER_SECONDS]


def test_gap8_busy_at_150_mhz_draws_the_papers_50_mw() -> None:
    assert _busy_power_w(energy.PUBLISHED_CLOCK_HZ) == pytest.approx(
        energy.PUBLISHED_POWER_W, rel=0.05
    )


def test_gap8_mobilenet_costs_dorys_63_pj_a_mac() -> None:
    """DORY's network runs at 800 MMAC/s; its traffic through DMA is some 10 MB an inference."""
    dma_w = 10e6 * 4.3 * _joules()[L.E_DMA_BYTES]
    mac_j = (_busy_power_w(energy.PUBLISHED_CLOCK_HZ) + dma_w) / energy.PUBLISHED_MAC_PER_S
    assert mac_j == pytest.approx(energy.PUBLISHED_MAC_J, rel=0.05)


def test_gap8_operating_points() -> None:
    high, low = energy.coefficients(1.2), energy.coefficients(1.0)
    assert low[L.E_PE_CYCLES] / high[L.E_PE_CYCLES] == pytest.approx((1.0 / 1.2) ** 2)
    assert low[L.E_SECONDS] / high[L.E_SECONDS] == pytest.approx(1.0 / 1.2)
    with pytest.raises(SimulationError, match=r"no operating point at 0\.9 V; there are: 1\.0, 1"):
        energy.coefficients(0.9)


def test_gap8_has_a_coefficient_for_every_term() -> None:
    assert sorted(row.term for row in energy.COEFFICIENTS) == list(range(L.ENERGY_TERMS))
    assert np.all(energy.coefficients() > 0)


def test_gap8_every_event_of_a_bin_is_charged_once() -> None:
    """Counts set by hand, one bin closed: the sum of counts times coefficients."""
    state = L.new_state(4)
    table, core, chip = state.energy, state.core, state.chip
    table[: L.ENERGY_TERMS] = energy.coefficients()
    chip[L.BIN_FS] = chip[L.BIN_DUE_FS] = round(energy.BIN_S * L.FS_PER_S)
    chip[L.CLUSTER_ON] = 1
    counts = {
        L.N_CYCLES: 1000, L.N_LOAD: 300, L.N_STORE: 100, L.N_LOAD_EXT: 7, L.N_STORE_EXT: 3,
        L.N_IMISS: 11, L.N_PACKED: 200, L.N_MULTIPLY: 13,
    }  # fmt: skip
    for field, count in counts.items():
        core[2 * L.CORE_SPAN + field] = count
    state.dma[L.DMA_BYTES] = 640
    energy.close_bin.py_func(core, state.dma, chip, table)
    j = _joules()
    expected = (
        energy.BIN_S * (j[L.E_SECONDS] + j[L.E_CLUSTER_SECONDS]) + 1000 * j[L.E_PE_CYCLES]
        + 390 * j[L.E_L1] + 10 * j[L.E_L2] + 11 * j[L.E_IMISS] + 200 * j[L.E_PACKED]
        + 13 * j[L.E_MULTIPLY] + 640 * j[L.E_DMA_BYTES]
    )  # fmt: skip
    assert table[L.ENERGY_BINS] == pytest.approx(expected, rel=1e-12)


def test_stm32f7_run_current_of_the_datasheet() -> None:
    """102 mA at 216 MHz, 12 mA at 16 MHz (DS10916, run mode, typical) for the reference mix: a
    quarter multiplies, a quarter loads, 1.6 instructions a cycle."""
    mix = {Kind.MAC: 0.25, Kind.LOAD: 0.25, Kind.ALU: 0.5}
    cycle_j = 1.6 * sum(share * INSTRUCTION_J[kind] for kind, share in mix.items())
    for clock_hz, current_a in ((216e6, 0.102), (16e6, 0.012)):
        watts = power.RUN_BASE.power_w(clock_hz) + cycle_j * clock_hz
        assert watts / power.SUPPLY_V == pytest.approx(current_a, rel=0.05)


def test_stm32f7_sleep_current() -> None:
    """25 mA at 216 MHz with the core clock gated."""
    assert power.SLEEP.power_w(216e6) / power.SUPPLY_V == pytest.approx(0.025, rel=0.05)


def test_stm32f7_every_instruction_class_has_an_energy() -> None:
    assert set(INSTRUCTION_J) == set(Kind)
