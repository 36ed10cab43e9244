"""GPIO (0x1A101000) and the marker pin.

The marker is GPIO17 on pad 31 (timer0_ch0), function 1; edges count when the pad is switched to
GPIO and the pin is an output.
"""

from __future__ import annotations

from hil.sim.chip import MarkerEdge
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.machine import BusFault, Machine

DIR, IN, OUT, INTEN, INTTYPE0, INTTYPE1, INTSTATUS, EN = range(0x00, 0x20, 4)
MARKER_PIN = 17
MARKER_PAD_REGISTER = 0x144  # PADFUN1 in the SoC control block
MARKER_PAD_SHIFT = 30
MARKER_PAD_FUNCTION = 1


class Gpio:
    """32 pins; inputs read 0 except for outputs read back."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.reset()

    def reset(self) -> None:
        """All inputs, marker low."""
        self._registers = dict.fromkeys(range(0, 64, 4), 0)
        self._pad_is_gpio = False
        self._level = False
        self._edges: list[MarkerEdge] = []

    def read(self, offset: int) -> int:
        """IN shows what the outputs drive."""
        if offset == IN:
            return self._registers[DIR] & self._registers[OUT]
        if offset not in self._registers:
            raise BusFault(f"GPIO has no register +0x{offset:x}")
        return self._registers[offset]

    def write(self, offset: int, value: int) -> None:
        """Interrupts on inputs cannot happen: nothing drives the pins from outside."""
        if offset not in self._registers or offset in (IN, INTSTATUS):
            raise BusFault(f"GPIO has no writable register +0x{offset:x}")
        self._registers[offset] = value
        self._update()

    def pad_function(self, register: int, value: int) -> None:
        """The pad multiplexer was written."""
        if register == MARKER_PAD_REGISTER:
            function = (value >> MARKER_PAD_SHIFT) & 3
            self._pad_is_gpio = function == MARKER_PAD_FUNCTION
            self._update()

    def _update(self) -> None:
        driven = self._registers[DIR] & self._registers[OUT]
        level = self._pad_is_gpio and bool((driven >> MARKER_PIN) & 1)
        if level != self._level:
            self._level = level
            self._edges.append(MarkerEdge(self._machine.now_fs / L.FS_PER_S, level))

    def drain(self) -> list[MarkerEdge]:
        """Marker edges since the last call."""
        edges, self._edges = self._edges, []
        return edges
