"""What the GAP8 model has not: every access stops by name, none reads 0 or is taken in silence."""

from __future__ import annotations

import itertools

import pytest
from gap8_registers import UDMA_CLOCKS, read, spinning, write

from hil.core.errors import SimulationError
from hil.sim.socs.gap8 import Gap8
from hil.sim.socs.gap8.devices.absent import ABSENT

HYPERBUS, GPIO, TIMER, SOC = 0x1A102180, 0x1A101000, 0x1B200400, 0x1A104000


@pytest.fixture(scope="module")
def blank() -> Gap8:
    return Gap8()


@pytest.fixture
def chip(blank: Gap8) -> Gap8:
    spinning(blank)
    write(blank, UDMA_CLOCKS, 0x3FF)
    return blank


# name: address, what the message must say
READS = {
    "spi": (0x1A102080, "SPI master 0"), "i2c": (0x1A102280, "I2C 0"),
    "i2s": (0x1A102408, "I2S"), "camera": (0x1A102480, "camera"),
    "rtc": (0x1A108000, "real-time clock"), "advanced timer": (0x1A105004, "advanced timer"),
    "efuse": (0x1A109000, "eFuses"), "rom": (0x1A000080, "boot ROM"),
    "fc event unit": (0x1B200800, "private one"), "mailbox": (SOC + 0x74, "JTAG mailbox"),
    "cl_busy": (SOC + 0x6C, "CL_BUSY"), "soc info": (SOC + 0x00, r"\+0x0 is not modelled"),
    "pad configuration": (SOC + 0x180, "read before it was written"),
    "gpio pads": (GPIO + 0x3C, "read before it was written"),
    "hyperbus timing": (HYPERBUS + 0x2C, "CFG1 read before it was written"),
    "pmu data": (0x1A107004, r"PMU register \+0x4"), "output": (0x1A110000, "only be written"),
    "nothing": (0x1A120000, "no device is known there"),
}  # fmt: skip
# name: address, value, what the message must say
WRITES = {
    "spi": (0x1A102084, 1, "SPI master 0"), "i2c": (0x1A102300, 1, "I2C 1"),
    "rtc": (0x1A108010, 1, "real-time clock"), "pwm": (0x1A105000, 1, "advanced timer"),
    "mailbox": (SOC + 0x74, 1, "JTAG mailbox"), "cl_busy": (SOC + 0x6C, 1, "CL_BUSY"),
    "pmu": (0x1A107008, 7, r"PMU register \+0x8"),
    "gpio status": (GPIO + 0x18, 1, "read-only"), "gpio in": (GPIO + 0x04, 1, "read-only"),
    "interrupt type 3": (GPIO + 0x10, 3 << 6, "type 3"),
    "cluster event mask": (0x1A10600C, 0, "only those for the FC"),
    "timer input": (TIMER, 1 << 3, "input event"),
    "hyperbus": (HYPERBUS + 0x24, 1, r"\+0x24"),
    "open loop": (0x1A100004, 0x05F5, "open loop"),
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_reads_that_stop(chip: Gap8, name: str) -> None:
    address, said = READS[name]
    with pytest.raises(SimulationError, match=said):
        read(chip, address)


@pytest.mark.parametrize("name", WRITES)
def test_writes_that_stop(chip: Gap8, name: str) -> None:
    address, value, said = WRITES[name]
    with pytest.raises(SimulationError, match=said):
        write(chip, address, value)


def test_absent_devices_hide_none_that_is_modelled(chip: Gap8) -> None:
    windows = sorted(chip._bus.windows, key=lambda window: window.base)
    for first, second in itertools.pairwise(windows):
        assert first.base + first.size <= second.base, (first.name, second.name)
    assert {row[2] for row in ABSENT} <= {w.name.removesuffix(", not modelled") for w in windows}


def test_kept_registers_read_back(chip: Gap8) -> None:
    for address in (SOC + 0x180, GPIO + 0x20, HYPERBUS + 0x2C):
        write(chip, address, 0x11223344)
        assert read(chip, address) == 0x11223344


def _transfer(chip: Gap8, address: int, l2: int = 0x1C001000, size: int = 4, side: int = 0) -> None:
    """Stops one that runs and starts one, to the RAM or flash where ``side`` is 0x10."""
    write(chip, HYPERBUS + side + 0x08, 0x20)
    values = ((0x20, address), (side, l2), (side + 0x04, size), (side + 0x08, 0x10))
    for offset, value in values:
        write(chip, HYPERBUS + offset, value)


HYPERBUS_REFUSED = {
    "outside the RAM": ((0x7FFFFC, 0x1C020000, 64), "outside the HyperRAM"),
    "outside the flash": ((0x05000000, 0x1C020000, 64), "outside the HyperFlash"),
    "outside L2": ((0, 0x1B000000, 64), "not inside L2"),
    "odd address": ((1, 0x1C020000, 64), "even"),
    "flash command": ((0x01000000, 0x1C020000, 4, 0x10), "not modelled"),
}


@pytest.mark.parametrize("name", HYPERBUS_REFUSED)
def test_transfers_that_stop(chip: Gap8, name: str) -> None:
    asked, said = HYPERBUS_REFUSED[name]
    with pytest.raises(SimulationError, match=said):
        _transfer(chip, *asked)


def test_hyperbus_needs_the_memories_that_are_there(chip: Gap8) -> None:
    """Chip select 0 with a base of its own, a burst limit, register space, and flash for RAM."""
    write(chip, HYPERBUS + 0x38, 0x10)  # MBR1
    write(chip, HYPERBUS + 0x28, 0x08)  # MBR0
    _transfer(chip, 0x08000000)
    with pytest.raises(SimulationError, match="outside the HyperRAM"):
        _transfer(chip, 0x0)
    for config, said in (
        (4 | 1 << 4, "burst limits"), (4 | 1 << 3, "CRT"), (0, "device type 0x0"),
    ):  # fmt: skip
        write(chip, HYPERBUS + 0x34, config)
        with pytest.raises(SimulationError, match=said):
            _transfer(chip, 0x08000000)
