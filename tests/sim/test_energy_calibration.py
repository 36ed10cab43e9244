"""The energy tables against the published figures that they are scaled to, by hand and by running.

Everything here is modelled; the tests say that the model adds up to its sources, no more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gap8_program import FC_AT_150_MHZ, assemble
from gap8_registers import UDMA_CLOCKS, pass_time, spinning, write
from xpulp_assembler import translate

from hil.core.errors import SimulationError
from hil.sim.chip import Stop
from hil.sim.cores.cortex_m7.costs import INSTRUCTION_J
from hil.sim.cores.cortex_m7.op import Kind
from hil.sim.socs.gap8 import Gap8, energy
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


# What a network's layers are on average: eight cores at DORY's 800 MMAC/s of 150 MHz, that is 5.3
# MACs a cycle, a load every two cycles, and the network's 43 MB/s through MCHAN (4 KB each 14,000
# cycles). The FC sleeps.
NETWORK = (
    FC_AT_150_MHZ
    + """
pe_main:
    mv s11, a0
    li s9, 0x7FFFFFFF
    li s8, 0
9:  bnez s11, 8f
    li s0, 0x00204400      # PE 0: 4 KB from L2 to L1
    sw s8, 4(s0)           # the transfer before has ended: its number is free again
    lw t0, 0(s0)
    li s8, 1
    sll s8, s8, t0
    li t1, 0x31000
    sw t1, 0(s0)
    li t1, 0x10008000
    sw t1, 0(s0)
    li t1, 0x1C060000
    sw t1, 0(s0)
8:  slli t0, s11, 2
    li a1, 0x10000000
    add a1, a1, t0
    mv a2, a1
    li s10, 1200
    lp.setup x0,s10,44
    p.lw s2,4(a1!)
    p.lw s3,4(a1!)
    pv.sdotusp.b t0,s4,s5
    p.lw s4,4(a2!)
    p.lw s5,4(a2!)
    add t3,t3,t4
    p.lw s6,4(a1!)
    p.lw s7,4(a2!)
    pv.sdotusp.b t1,s2,s3
    add t4,t4,t3
    add t5,t5,t3
    addi s9, s9, -1
    bnez s9, 9b
"""
)


def test_gap8_runs_at_the_published_power_and_energy_a_mac(tmp_path: Path) -> None:
    """The chip runs what the calibration by hand assumes: 50 mW at 150 MHz, 63 pJ a MAC."""
    chip = Gap8()
    chip.load_elf(assemble(tmp_path, translate(NETWORK)))
    assert chip.run(4e-3) is Stop.BUDGET, chip.fault  # until both loops are at 150 MHz
    chip.energy_drain()
    before = chip.counters()
    assert chip.run(1e-3) is Stop.BUDGET, chip.fault
    joules = float(chip.energy_drain().energy_j.sum())
    counts = {name: count - before[name] for name, count in chip.counters().items()}
    macs = 4 * sum(counts[f"pe{i}_packed_instructions"] for i in range(8))
    assert counts["cluster_clock_cycles"] == pytest.approx(150e3, rel=0.001)
    assert macs / 1e-3 == pytest.approx(energy.PUBLISHED_MAC_PER_S, rel=0.05)
    assert counts["dma_bytes"] / 1e-3 == pytest.approx(43e6, rel=0.1)
    assert joules / 1e-3 == pytest.approx(energy.PUBLISHED_POWER_W, rel=0.1)
    assert joules / macs == pytest.approx(energy.PUBLISHED_MAC_J, rel=0.1)


def test_gap8_hyperbus_bytes_cost_while_they_move() -> None:
    """4 KB from the HyperRAM cost their bytes more than the same time without, evenly spread."""
    chip = spinning(Gap8())
    pass_time(chip, 2e-4)
    idle_j = chip.energy_drain().energy_j.sum()
    spinning(chip)
    write(chip, UDMA_CLOCKS, 8)
    for offset, value in ((0x20, 0), (0x00, 0x1C001000), (0x04, 4096), (0x08, 0x10)):
        write(chip, 0x1A102180 + offset, value)
    pass_time(chip, 2e-4)
    bins_j = chip.energy_drain().energy_j
    bytes_j = 4096 * _joules()[L.E_HYPERBUS_BYTES]
    assert bins_j.sum() - idle_j == pytest.approx(bytes_j, rel=1e-6)
    moving = bins_j[:8]  # of 83 us
    assert moving.min() == pytest.approx(moving.max(), rel=0.01)
    assert moving.mean() - bins_j[-5:].mean() == pytest.approx(bytes_j * 10e-6 / 83.3e-6, rel=0.01)


def test_gap8_bytes_of_the_dma_stay_counted_while_the_cluster_is_off() -> None:
    """Else a bin would give back their energy; a reset of the chip forgets them."""
    chip = spinning(Gap8())
    chip._state.dma[L.DMA_BYTES] = 4096
    pass_time(chip, 2e-5)
    for bypass in (0x209, 0x2A01):  # cluster on, then off and in reset
        write(chip, 0x1A104070, bypass)
    assert chip.counters()["dma_bytes"] == 4096
    chip.energy_drain()
    pass_time(chip, 1e-4)
    assert chip.energy_drain().energy_j.min() > 0
    chip.reset()
    assert chip.counters()["dma_bytes"] == 0


def test_gap8_operating_points() -> None:
    high, low = energy.coefficients(1.2), energy.coefficients(1.0)
    assert low[L.E_PE_CYCLES] / high[L.E_PE_CYCLES] == pytest.approx((1.0 / 1.2) ** 2)
    assert low[L.E_SECONDS] / high[L.E_SECONDS] == pytest.approx(1.0 / 1.2)
    assert low[L.E_HYPERBUS_BYTES] == high[L.E_HYPERBUS_BYTES], "a supply of its own"
    with pytest.raises(SimulationError, match=r"no operating point at 0\.9 V; there are 1\.0 to 1"):
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
    counts = {
        L.N_CYCLES: 1000, L.N_LOAD: 300, L.N_STORE: 100, L.N_LOAD_EXT: 7, L.N_STORE_EXT: 3,
        L.N_IMISS: 11, L.N_PACKED: 200, L.N_MULTIPLY: 13,
    }  # fmt: skip
    for field, count in counts.items():
        core[2 * L.CORE_SPAN + field] = count
    state.dma[L.DMA_BYTES] = 640
    chip[L.HYPERBUS_BYTES + L.WORK_DONE] = 4096
    chip[L.HWCE_MACS : L.HWCE_MACS + 4] = (900, 400, 0, 2 * chip[L.BIN_FS])  # half of 400 by now
    energy.close_bin.py_func(core, state.dma, chip, table)
    j = _joules()
    expected = (
        energy.BIN_S * (j[L.E_SECONDS] + j[L.E_CLUSTER_SECONDS]) + 1000 * j[L.E_PE_CYCLES]
        + 390 * j[L.E_L1] + 10 * j[L.E_L2] + 11 * j[L.E_IMISS] + 200 * j[L.E_PACKED]
        + 13 * j[L.E_MULTIPLY] + 640 * j[L.E_DMA_BYTES]
        + 4096 * j[L.E_HYPERBUS_BYTES] + (900 + 200) * j[L.E_HWCE_MACS]
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
