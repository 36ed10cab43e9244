"""GPIO (0x1A101000, archi/gpio/gpio_v2.h) and the marker pin.

Inputs are sampled where GPIOEN is set (the SDK's driver sets it for inputs and clears it for
outputs). An edge that INTEN and INTTYPE ask for on a sampled input sets INTSTATUS and raises SoC
event 42 and the FC's event 15. Pins are driven from outside by ``Gap8.drive_gpio``; what an input
reads that nobody drives is unknown, so IN stops the chip then.

The marker is GPIO17 on pad 31 (timer0_ch0), function 1; edges count when the pad is switched to
GPIO and the pin is an output.
"""

from __future__ import annotations

from hil.sim.chip import MarkerEdge
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.machine import BusFault, Machine

PINS = 32
DIR, IN, OUT, INTEN, INTTYPE0, INTTYPE1, INTSTATUS, EN = range(0x00, 0x20, 4)
PADCFG = range(0x20, 0x40, 4)  # pull and strength: kept, electrical only
AT_RESET = (DIR, OUT, INTEN, INTTYPE0, INTTYPE1, EN)  # all 0
FALLING, RISING, BOTH = range(3)  # INTTYPE, two bits a pin
SOC_EVENT, FC_EVENT = 42, 15
MARKER_PIN = 17
MARKER_PAD_REGISTER = 0x144  # PADFUN1 in the SoC control block
MARKER_PAD_SHIFT = 30
MARKER_PAD_FUNCTION = 1


class Gpio:
    """32 pins, with their levels as driven by the chip and from outside."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._driven = self._outside = 0  # pins driven from outside, and their levels
        self.reset()

    def reset(self) -> None:
        """All inputs, none sampled, marker low; what drives the pins stays."""
        self._registers = dict.fromkeys(AT_RESET, 0)
        self._status = 0
        self._sampled = 0
        self._pad_is_gpio = False
        self._level = False
        self._edges: list[MarkerEdge] = []

    def drive(self, pin: int, level: bool | None) -> None:
        """Drives a pin from outside, or releases it (None); a pin that is an output wins."""
        bit = 1 << pin
        self._driven = self._driven & ~bit if level is None else self._driven | bit
        self._outside = self._outside | bit if level else self._outside & ~bit
        self._sample(self._enabled)

    @property
    def _enabled(self) -> int:
        """Inputs that are sampled."""
        return self._registers[EN] & ~self._registers[DIR]

    def read(self, offset: int) -> int:
        """INTSTATUS clears; BusFault for what cannot be known."""
        if offset == IN:
            return self._input()
        if offset == INTSTATUS:
            status, self._status = self._status, 0
            return status
        if offset in PADCFG and offset not in self._registers:
            raise BusFault(f"GPIO pad configuration +0x{offset:x} read before it was written; its "
                           "reset value is not known")  # fmt: skip
        return self._registers[offset]

    def _input(self) -> int:
        outputs, enabled = self._registers[DIR], self._enabled
        if not outputs and not enabled:
            raise BusFault("GPIO IN read with no output and no input enabled (GPIOEN, +0x1c)")
        floating = [str(pin) for pin in range(PINS) if enabled & ~self._driven & 1 << pin]
        if floating:
            raise BusFault(f"GPIO IN read while nothing drives the enabled inputs "
                           f"{', '.join(floating)} (Gap8.drive_gpio does)")  # fmt: skip
        return (outputs & self._registers[OUT]) | (enabled & self._outside)

    def write(self, offset: int, value: int) -> None:
        """BusFault for IN and INTSTATUS, and for an interrupt type that does not exist."""
        if offset not in self._registers and offset not in PADCFG:
            raise BusFault(f"GPIO register +0x{offset:x} is read-only")
        if offset in (INTTYPE0, INTTYPE1) and value & value >> 1 & 0x55555555:
            raise BusFault(f"GPIO interrupt type 3 (INTTYPE 0x{value:08x}) does not exist")
        before = self._enabled
        self._registers[offset] = value
        self._sample(before)
        self._update_marker()

    def _sample(self, before: int) -> None:
        """Notes edges of the inputs that are sampled now and were already (``before``)."""
        level = self._enabled & self._outside
        changed = (level ^ self._sampled) & before & self._enabled
        self._sampled = level
        asked = 0
        for pin in range(PINS):
            if changed & self._registers[INTEN] & 1 << pin:
                asked |= self._wanted(pin, bool(level & 1 << pin)) << pin
        if asked:
            self._status |= asked
            self._machine.soc_events.raise_event(SOC_EVENT)
            self._machine.raise_core_event(L.FC, FC_EVENT)

    def _wanted(self, pin: int, rises: bool) -> bool:
        kinds = self._registers[INTTYPE1 if pin >= 16 else INTTYPE0]
        kind = (kinds >> 2 * (pin % 16)) & 3
        return kind == BOTH or kind == (RISING if rises else FALLING)

    def pad_function(self, register: int, value: int) -> None:
        """The pad multiplexer was written."""
        if register == MARKER_PAD_REGISTER:
            function = (value >> MARKER_PAD_SHIFT) & 3
            self._pad_is_gpio = function == MARKER_PAD_FUNCTION
            self._update_marker()

    def _update_marker(self) -> None:
        driven = self._registers[DIR] & self._registers[OUT]
        level = self._pad_is_gpio and bool((driven >> MARKER_PIN) & 1)
        if level != self._level:
            self._level = level
            self._edges.append(MarkerEdge(self._machine.now_fs / L.FS_PER_S, level))

    def drain(self) -> list[MarkerEdge]:
        """Marker edges since the last call."""
        edges, self._edges = self._edges, []
        return edges
