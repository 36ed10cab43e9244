"""GPIO of the GAP8: levels that the chip and the world drive, and interrupts on edges."""

from __future__ import annotations

import pytest
from gap8_registers import (
    SOC_EVENT_FIFO,
    SOC_EVENT_MASK_HIGH,
    pass_time,
    read,
    spinning,
    write,
)

from hil.core.errors import SimulationError
from hil.sim.socs.gap8 import Gap8

GPIO = 0x1A101000
DIR, IN, OUT, INTEN, INTTYPE0, INTTYPE1, INTSTATUS, EN = range(GPIO, GPIO + 0x20, 4)
FALLING, RISING, BOTH = range(3)


@pytest.fixture(scope="module")
def blank() -> Gap8:
    return Gap8()


@pytest.fixture
def chip(blank: Gap8) -> Gap8:
    for pin in (3, 20):
        blank.drive_gpio(pin, None)
    return spinning(blank)


def drive(chip: Gap8, pin: int, *levels: bool | None) -> None:
    for level in levels:
        chip.drive_gpio(pin, level)
        pass_time(chip, 1e-6)


def test_in_shows_what_is_driven(chip: Gap8) -> None:
    write(chip, DIR, 1 << 17 | 1 << 18)
    write(chip, OUT, 1 << 17 | 1 << 3)  # pin 3 is no output
    assert read(chip, IN) == 1 << 17
    drive(chip, 3, True)
    assert read(chip, IN) == 1 << 17, "not sampled yet"
    write(chip, EN, 1 << 3)
    assert read(chip, IN) == 1 << 17 | 1 << 3
    drive(chip, 3, False)
    assert read(chip, IN) == 1 << 17


def test_in_stops_where_the_level_is_unknown(chip: Gap8) -> None:
    with pytest.raises(SimulationError, match="no output and no input enabled"):
        read(chip, IN)
    write(chip, EN, 1 << 3 | 1 << 20)
    drive(chip, 3, True)
    with pytest.raises(SimulationError, match="nothing drives the enabled inputs 20 "):
        read(chip, IN)
    drive(chip, 20, True)
    assert read(chip, IN) == 1 << 3 | 1 << 20
    drive(chip, 3, None)
    with pytest.raises(SimulationError, match="nothing drives the enabled inputs 3 "):
        read(chip, IN)


@pytest.mark.parametrize("pin", [3, 20])
@pytest.mark.parametrize(("kind", "asked"), [(FALLING, (0,)), (RISING, (1,)), (BOTH, (0, 1))])
def test_an_edge_sets_the_status_and_raises_soc_event_42(
    chip: Gap8, pin: int, kind: int, asked: tuple[int, ...]
) -> None:
    """The status register clears when it is read."""
    write(chip, SOC_EVENT_MASK_HIGH, 0xFFFFFFFF & ~(1 << 42 - 32))
    write(chip, INTTYPE1 if pin >= 16 else INTTYPE0, kind << 2 * (pin % 16))
    write(chip, INTEN, 1 << pin)
    drive(chip, pin, False)
    write(chip, EN, 1 << pin)
    for level in (1, 1, 0, 0, 1, 0):
        is_edge = level != read(chip, IN) >> pin
        drive(chip, pin, bool(level))
        raised = is_edge and level in asked
        assert read(chip, INTSTATUS) == raised << pin
        assert read(chip, INTSTATUS) == 0
        assert read(chip, SOC_EVENT_FIFO) == (0x80000000 | 42) * raised


def test_a_reset_changes_nothing_outside(chip: Gap8) -> None:
    chip.drive_gpio(3, True)
    spinning(chip)
    write(chip, EN, 1 << 3)
    assert read(chip, IN) == 1 << 3


def test_pins_that_are_not_asked_raise_nothing(chip: Gap8) -> None:
    write(chip, SOC_EVENT_MASK_HIGH, 0)
    write(chip, INTTYPE0, BOTH << 6)
    drive(chip, 3, False)
    write(chip, EN, 1 << 3)
    drive(chip, 3, True)
    assert read(chip, INTSTATUS) == read(chip, SOC_EVENT_FIFO) == 0
    with pytest.raises(SimulationError, match="no GPIO 32"):
        chip.drive_gpio(32, True)
