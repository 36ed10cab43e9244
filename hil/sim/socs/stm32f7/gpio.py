"""GPIO ports and the marker pin that the meter samples. Reference: RM0385 section 6."""

from __future__ import annotations

from collections.abc import Callable

from hil.sim.cores.cortex_m7.bus import BusError
from hil.sim.cores.cortex_m7.registers import RegisterFile

ALL = 0xFFFFFFFF
# Ports A and B carry the debug pins after reset.
RESET = {
    "A": {"MODER": 0xA8000000, "OSPEEDR": 0x0C000000, "PUPDR": 0x64000000},
    "B": {"MODER": 0x00000280, "OSPEEDR": 0x000000C0, "PUPDR": 0x00000100},
}
OUTPUT = 1


def _layout(port: str) -> dict[str, tuple[int, int, int]]:
    reset = RESET.get(port, {})
    return {
        "MODER": (0x00, reset.get("MODER", 0), ALL),
        "OTYPER": (0x04, 0, 0xFFFF),
        "OSPEEDR": (0x08, reset.get("OSPEEDR", 0), ALL),
        "PUPDR": (0x0C, reset.get("PUPDR", 0), ALL),
        "IDR": (0x10, 0, 0),
        "ODR": (0x14, 0, 0xFFFF),
        "BSRR": (0x18, 0, 0),
        "LCKR": (0x1C, 0, 0),
        "AFRL": (0x20, 0, ALL),
        "AFRH": (0x24, 0, ALL),
    }


class GpioPort:
    """One port. ``on_change`` is called after a write that may have moved an output pin."""

    def __init__(self, letter: str, on_change: Callable[[], None] | None = None) -> None:
        self.name = f"GPIO{letter}"
        self._file = RegisterFile(self.name, _layout(letter))
        self._on_change = on_change

    def reset(self) -> None:
        """By AHB1RSTR: every pin is an input again."""
        self._file.reset()
        if self._on_change is not None:
            self._on_change()

    def drives_high(self, pin: int) -> bool:
        """The pin is an output and its level is high."""
        return self._mode(pin) == OUTPUT and self._file.bit("ODR", pin)

    def alternate(self, pin: int) -> int | None:
        """The pin's alternate function, None if it is not in that mode."""
        if self._mode(pin) != 2:
            return None
        return self._file["AFRL" if pin < 8 else "AFRH"] >> 4 * (pin & 7) & 0xF

    def _mode(self, pin: int) -> int:
        return self._file["MODER"] >> 2 * pin & 3

    def _levels(self) -> int:
        levels = 0
        for pin in range(16):
            if self._mode(pin) == OUTPUT:
                high = self._file.bit("ODR", pin)
            else:  # nothing is wired to the inputs: the pull decides, a floating pin reads 0
                high = self._file["PUPDR"] >> 2 * pin & 3 == 1
            levels |= high << pin
        return levels

    def read(self, offset: int) -> int:
        register = self._file.register(offset)
        return self._levels() if register == "IDR" else self._file[register]

    def write(self, offset: int, value: int) -> None:
        register = self._file.register(offset)
        if register == "LCKR":
            raise BusError(f"{self.name}_LCKR: the configuration lock is not modelled")
        if register == "BSRR":  # set wins over reset
            self._file["ODR"] = self._file["ODR"] & ~(value >> 16) | value & 0xFFFF
        else:
            self._file.store(register, value)
        if self._on_change is not None:
            self._on_change()
