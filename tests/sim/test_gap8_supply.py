"""The GAP8's core voltage: clock limits, the DC/DC and PMU sequence, energies.

Limits: 150 and 90 MHz at 1.0 V, 250 and 175 MHz at 1.2 V (GAP SDK, benchmarks/gap8/cnn/README.md),
a straight line between them (pmu_driver.c).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from gap8_program import PES_SLEEP, assemble
from gap8_registers import SOC_EVENT_FIFO, SOC_EVENT_MASK_HIGH, pass_time, read, spinning, write
from test_cli_sim_data_cache import sim_run

from hil.core.errors import SimulationError
from hil.sim.chips import make_chip
from hil.sim.socs.gap8 import Gap8

FC_CONF1, CLUSTER_CONF1 = 0x1A100004, 0x1A100014
DCDC, PCTRL, IMR, IFR = 0x1A104100, 0x1A107000, 0x1A10700C, 0x1A107010
NV, LV = (1 << 18) | 7, (1 << 19) | 7  # PCTRL of the two sequences
LV_SHIFT = 16
CODES = {0.9: 7, 1.0: 9, 1.1: 11, 1.2: 13}
CHANGE_S = 20e-6


def set_clock(chip: Gap8, register: int, clock_mhz: float) -> None:
    """As the SDK sets it, DIV 2."""
    mult = round(clock_mhz * 1e6 * 2 / 32768)
    write(chip, register, 3 << 30 | 2 << 26 | mult)


@pytest.fixture(scope="module")
def chips() -> dict[float, Gap8]:
    return {core_v: Gap8(core_v=core_v) for core_v in (1.0, 1.1, 1.2)}


@pytest.mark.parametrize(
    ("core_v", "fc_mhz", "cluster_mhz"), [(1.0, 150, 90), (1.1, 200, 132.5), (1.2, 250, 175)]
)
def test_clocks_beyond_the_voltage_stop_by_name(
    chips: dict[float, Gap8], core_v: float, fc_mhz: float, cluster_mhz: float
) -> None:
    chip = spinning(chips[core_v])
    for register, limit_mhz, name in (
        (FC_CONF1, fc_mhz, "FC"),
        (CLUSTER_CONF1, cluster_mhz, "cluster"),
    ):
        set_clock(chip, register, limit_mhz)
        said = rf"{name} clock of .* MHz at {core_v:.2f} V, which carries {limit_mhz:.1f} MHz"
        with pytest.raises(SimulationError, match=said):
            set_clock(chip, register, limit_mhz + 1)
    assert chip.core_v == core_v
    assert f"core at {core_v:g} V" in chip.timing_model


def test_firmware_raises_the_voltage_then_the_clock(chips: dict[float, Gap8]) -> None:
    """As rt_voltage_force does it: the set point of the other state, its sequence, the event."""
    chip = spinning(chips[1.0])
    write(chip, SOC_EVENT_MASK_HIGH, 0xFFFFFFFF & ~(1 << 37 - 32))
    write(chip, IMR, 7)
    write(chip, DCDC, CODES[1.2] << LV_SHIFT)
    write(chip, PCTRL, LV)
    assert read(chip, PCTRL) & 1 and chip.core_v == 1.0
    with pytest.raises(SimulationError, match=r"250\.0 MHz at 1\.00 V"):
        set_clock(chip, FC_CONF1, 250)
    pass_time(chip, CHANGE_S)
    assert not read(chip, PCTRL) & 1 and chip.core_v == 1.2
    assert read(chip, SOC_EVENT_FIFO) == 0x80000000 | 37
    assert read(chip, IFR) & 0x18 == 0x18
    write(chip, IFR, 0x18)
    assert read(chip, IFR) == 0
    set_clock(chip, FC_CONF1, 250)
    assert read(chip, DCDC) == CODES[1.2] << LV_SHIFT
    chip.reset()
    assert chip.core_v == 1.0


def test_a_lower_voltage_needs_lower_clocks_first(chips: dict[float, Gap8]) -> None:
    chip = spinning(chips[1.2])
    set_clock(chip, FC_CONF1, 200)
    write(chip, DCDC, CODES[1.0] << LV_SHIFT)
    with pytest.raises(SimulationError, match=r"FC clock of 200\.0 MHz at 1\.00 V"):
        write(chip, PCTRL, LV)
    set_clock(chip, FC_CONF1, 150)
    write(chip, PCTRL, LV)
    with pytest.raises(SimulationError, match=r"at 1\.00 V"):
        set_clock(chip, FC_CONF1, 200)  # already while it falls
    with pytest.raises(SimulationError, match="while one runs"):
        write(chip, PCTRL, NV)
    pass_time(chip, CHANGE_S)
    assert chip.core_v == 1.0


@pytest.mark.parametrize("pctrl", [(1 << 20) | 7, (1 << 18) | 9, 0])
def test_other_pmu_accesses_stop_by_name(chips: dict[float, Gap8], pctrl: int) -> None:
    chip = spinning(chips[1.2])
    with pytest.raises(SimulationError, match=r"PCTRL = 0x0.* is not modelled"):
        write(chip, PCTRL, pctrl)


def test_voltages_outside_of_the_table_stop(chips: dict[float, Gap8]) -> None:
    chip = spinning(chips[1.2])
    with pytest.raises(SimulationError, match="read before they were written"):
        read(chip, DCDC)
    write(chip, DCDC, CODES[0.9] << LV_SHIFT)
    with pytest.raises(SimulationError, match=r"LV set point of 0\.90 V"):
        write(chip, PCTRL, LV)
    with pytest.raises(SimulationError, match=r"no operating point at 0\.9 V"):
        Gap8(core_v=0.9)


def test_energy_follows_the_voltage(chips: dict[float, Gap8]) -> None:
    """Switched charge with the square of the voltage, the rest with the voltage: in between."""

    def power_w(chip: Gap8) -> float:
        chip.energy_drain()
        pass_time(chip, 1e-3)
        return float(chip.energy_drain().energy_j.sum() / 1e-3)

    low, high = power_w(spinning(chips[1.0])), power_w(spinning(chips[1.2]))
    assert (1 / 1.2) ** 2 < low / high < 1 / 1.2
    chip = chips[1.2]
    write(chip, DCDC, CODES[1.0] << LV_SHIFT)
    write(chip, PCTRL, LV)
    pass_time(chip, CHANGE_S)
    assert power_w(chip) == pytest.approx(low, rel=1e-3)


def test_the_voltage_is_chosen_by_name_of_the_board() -> None:
    with pytest.raises(SimulationError, match="virtual stm32f746 has no choice of core voltage"):
        make_chip("stm32f746", core_v=1.2)
    with pytest.raises(SimulationError, match=r"no operating point at 1\.3 V"):
        make_chip("gap8", core_v=1.3)


def test_hil_sim_run_with_a_core_voltage(tmp_path: Path) -> None:
    """A firmware for 1.2 V ends by name at 1.0 V."""
    source = "fc_main:\n li t0, 0x1A100000\n li t1, 0xC8003B9A\n sw t1, 4(t0)\n li a0, 0\n"
    elf = assemble(tmp_path, source + " j exit_program\n" + PES_SLEEP.replace("p.elw", "#"))
    told = sim_run(elf, "--board", "gap8", "--core-v", "1.0")
    assert "core at 1 V from the start" in told
    assert "FC clock of 250.0 MHz at 1.00 V, which carries 150.0 MHz" in told
    told = sim_run(elf, "--board", "gap8")
    assert "core at 1.2 V from the start" in told and "carries" not in told
