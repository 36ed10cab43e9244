"""The peripherals of one life of the chip, from a reset to the next, and their places on the bus.

RM0385 section 2.2.2 (addresses), 5.3 (clock enables and resets). What is not listed in ``_windows``
is refused by name.
"""

from __future__ import annotations

from typing import Protocol

from hil.sim.cores.cortex_m7 import costs
from hil.sim.cores.cortex_m7.bus import Bus, Window
from hil.sim.cores.cortex_m7.core import CortexM7
from hil.sim.cores.cortex_m7.glue import DWT_BYTES
from hil.sim.cores.cortex_m7.nvic import FIRST_INTERRUPT
from hil.sim.cores.cortex_m7.system import ACT_ON_ONES, Dwt, SystemControlSpace, SystemEvents
from hil.sim.socs.stm32f7.absent import absent
from hil.sim.socs.stm32f7.clocks import SYSCFG_LAYOUT, Flash, Pwr, Rcc
from hil.sim.socs.stm32f7.gating import Gated, PlainRegisters, Resettable
from hil.sim.socs.stm32f7.gpio import GpioPort
from hil.sim.socs.stm32f7.incidents import Incidents
from hil.sim.socs.stm32f7.memory_map import DWT_BASE
from hil.sim.socs.stm32f7.timeline import Timeline
from hil.sim.socs.stm32f7.timer import Timer
from hil.sim.socs.stm32f7.uart import Usart
from hil.sim.socs.stm32f7.variant import Variant

GPIO_LETTERS = "ABCDEFGHIJK"
MARKER_PORT, MARKER_PIN = "F", 12  # Arduino D8 of the Nucleo-144
# Console: IRQ number, then (port, pin, alternate function) of TX and RX as wired on the boards.
CONSOLES = {
    "USART1": (37, ("A", 9, 7), ("B", 7, 7)),
    "USART3": (39, ("D", 8, 7), ("D", 9, 7)),
    "USART6": (71, ("G", 14, 8), ("G", 9, 8)),
}


class ChipEvents(SystemEvents, Protocol):
    """What the peripherals ask of the chip around them."""

    def clock_changed(self) -> None:
        """RCC, PWR or the flash interface was written."""

    def marker_changed(self) -> None:
        """The marker's port was written."""

    def console_polled(self, status: int) -> None:
        """The firmware has read the console's status register."""


class Peripherals:
    """All of them, in the state after a reset; joined to ``core``."""

    def __init__(
        self,
        variant: Variant,
        console: str,
        core: CortexM7,
        timeline: Timeline,
        chip: ChipEvents,
        incidents: Incidents,
    ) -> None:
        self._chip = chip
        self._incidents = incidents
        self._timeline = timeline
        self._resets: dict[tuple[str, int], Resettable] = {}
        self.pwr = Pwr(timeline, chip.clock_changed, lambda: self.rcc.pll_is_on, incidents.warn)
        self.flash = Flash(variant.option_word, chip.clock_changed, core.art.forget, incidents.warn)
        self.rcc = Rcc(timeline, chip.clock_changed, self._reset, incidents.warn)
        self.scs = SystemControlSpace(chip, variant.core)
        self.dwt = Dwt(chip.now_cycles, lambda: self.scs.trace_enabled, core.set_cycle_counter)
        core.set_cycle_counter(0.0, False)
        self.ports = {
            letter: GpioPort(letter, chip.marker_changed if letter == MARKER_PORT else None)
            for letter in GPIO_LETTERS
        }
        self.timers = [
            Timer(name, timeline, lambda: self.rcc.timer_hz(1)) for name in ("TIM2", "TIM5")
        ]
        self.uarts = {
            name: self._make_uart(name, clock_field, bus, name == console)
            for name, clock_field, bus in (("USART1", 0, 2), ("USART3", 4, 1), ("USART6", 10, 2))
        }
        self.console = self.uarts[console]
        self.windows = self._windows(variant)
        core.bus = Bus(self.windows, absent)
        core.attach(self.scs, incidents.fault_taken, incidents.examined)

    @property
    def marker(self) -> bool:
        """The level of the marker pin."""
        return self.ports[MARKER_PORT].drives_high(MARKER_PIN)

    def interrupt_lines(self) -> int:
        """USARTs that ask for their handler, as exceptions, a bit each."""
        lines = 0
        for name, uart in self.uarts.items():
            if uart.interrupt_enabled:
                uart.sync()
                lines |= uart.interrupt << (FIRST_INTERRUPT + CONSOLES[name][0])
        return lines

    def next_interrupt_s(self) -> float | None:
        """When time alone may next raise the line of a USART that the NVIC listens to."""
        times = [
            uart.next_interrupt_s()
            for name, uart in self.uarts.items()
            if uart.interrupt_enabled and self.scs.nvic.interrupt_enabled(CONSOLES[name][0])
        ]
        return min((at_s for at_s in times if at_s is not None), default=None)

    def _reset(self, register: str, number: int) -> None:
        """A bit of an RSTR register of RCC was set."""
        if (register, number) in self._resets:
            self._resets[register, number].reset()
            self._chip.interrupts_changed()

    def clock_has_changed(self) -> None:
        """Timers and USARTs go on at the new clock."""
        for timer in self.timers:
            timer.rebase()
        for uart in self.uarts.values():
            uart.clock_changed()

    def _make_uart(self, name: str, clock_field: int, bus: int, is_console: bool) -> Usart:
        def routed(port: str, pin: int, function: int) -> bool:
            return self.ports[port].alternate(pin) == function

        _, tx, rx = CONSOLES[name]
        return Usart(
            name,
            self._timeline,
            lambda: self.rcc.uart_hz(clock_field, bus),
            lambda: routed(*tx),
            lambda: routed(*rx),
            self._chip.console_polled if is_console else lambda status: None,
            self._chip.interrupts_changed,
            self._incidents.warn,
        )

    def _windows(self, variant: Variant) -> list[Window]:
        def gated(
            base: int, inner: Resettable, bus: str, bit: int, stall: float = costs.APB_STALL
        ) -> Window:
            self._resets[f"{bus}RSTR", bit] = inner
            peripheral = Gated(
                inner, lambda: self.rcc.runs(bus, bit), self._incidents.unclocked_access
            )
            return Window(base, 0x400, peripheral, stall)

        ports = [
            gated(0x40020000 + 0x400 * n, self.ports[letter], "AHB1", n, costs.AHB_STALL)
            for n, letter in enumerate(GPIO_LETTERS)
        ]
        syscfg = PlainRegisters("SYSCFG", SYSCFG_LAYOUT)
        dbgmcu = PlainRegisters(
            "DBGMCU",
            {
                "IDCODE": (0, variant.idcode, 0),
                "CR": (4, 0, 0xE7),
                "APB1FZ": (8, 0, 0xFFFFFFFF),
                "APB2FZ": (12, 0, 0xFFFFFFFF),
            },
        )
        return [
            *ports,
            Window(0x40023800, 0x400, self.rcc, costs.AHB_STALL),
            Window(0x40023C00, 0x400, self.flash, costs.AHB_STALL),
            gated(0x40000000, self.timers[0], "APB1", 0),
            gated(0x40000C00, self.timers[1], "APB1", 3),
            gated(0x40004800, self.uarts["USART3"], "APB1", 18),
            gated(0x40007000, self.pwr, "APB1", 28),
            gated(0x40011000, self.uarts["USART1"], "APB2", 4),
            gated(0x40011400, self.uarts["USART6"], "APB2", 5),
            gated(0x40013800, syscfg, "APB2", 14),
            Window(DWT_BASE, DWT_BYTES, self.dwt, costs.PRIVATE_STALL),
            Window(0xE000E000, 0x1000, self.scs, costs.PRIVATE_STALL, ACT_ON_ONES),
            Window(0xE0042000, 0x400, dbgmcu, costs.PRIVATE_STALL),
        ]
