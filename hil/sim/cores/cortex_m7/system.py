"""System control space and DWT of the Cortex-M7: identity, caches, FPU switch, SysTick, CYCCNT.

References: Armv7-M ARM (B3, C1), Cortex-M7 TRM DDI 0489. The interrupt controller's part of the
space is in :mod:`.nvic`; what a fault leaves in the status registers is in :mod:`.exceptions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hil.sim.cores.cortex_m7 import mpu, nvic
from hil.sim.cores.cortex_m7.bus import BusError
from hil.sim.cores.cortex_m7.layout import DCACHE_WAYS, ICACHE_WAYS
from hil.sim.cores.cortex_m7.mpu import Mpu
from hil.sim.cores.cortex_m7.nvic import Nvic
from hil.sim.cores.cortex_m7.registers import RegisterFile

ALL = 0xFFFFFFFF
VECTKEY, SYSRESETREQ, VECTRESET = 0x05FA, 2, 0
CCR_DC, CCR_IC = 16, 17
# Bits that would change when exceptions come, refused since the model does not look at them.
UNMODELLED_BITS = {
    "CCR": {3: "UNALIGN_TRP", 4: "DIV_0_TRP"},
    "SCR": {1: "SLEEPONEXIT", 2: "SLEEPDEEP", 4: "SEVONPEND"},
}
TRCENA = 24
LAR_KEY = 0xC5ACCE55
TICK_ENABLE, TICK_INTERRUPT, TICK_CORE_CLOCK, TICK_COUNTED = 0, 1, 2, 16
CACHE_OPERATIONS = {
    0xF50: "ICIALLU",
    0xF58: "ICIMVAU",
    0xF5C: "DCIMVAC",
    0xF60: "DCISW",
    0xF64: "DCCMVAU",
    0xF68: "DCCMVAC",
    0xF6C: "DCCSW",
    0xF70: "DCCIMVAC",
    0xF74: "DCCISW",
    0xF78: "BPIALL",
}

STATUS = {"CFSR": 0xD28, "HFSR": 0xD2C, "DFSR": 0xD30}  # ones clear
ACT_ON_ONES = nvic.ACT_ON_ONES | frozenset(STATUS.values())
FORCEWT = 2
# Operations on data lines: name -> (by set and way, clean, invalidate).
DATA_OPERATIONS = {
    "DCIMVAC": (False, False, True),
    "DCISW": (True, False, True),
    "DCCMVAU": (False, True, False),
    "DCCMVAC": (False, True, False),
    "DCCSW": (True, True, False),
    "DCCIMVAC": (False, True, True),
    "DCCISW": (True, True, True),
}


@dataclass(frozen=True)
class Identity:
    """What the core of a chip says of itself: CPUID, MVFR0 (FPU), the size of each cache."""

    cpuid: int
    mvfr0: int
    cache_bytes: int

    def ccsidr(self, ways: int) -> int:
        """Write-back, read and write allocate, sets - 1, ways - 1, eight-word lines."""
        sets = self.cache_bytes // 32 // ways
        return 0xF0000001 | (sets - 1) << 13 | (ways - 1) << 3


def _scs_layout(identity: Identity) -> dict[str, tuple[int, int, int]]:
    layout = {
        "ICTR": (0x004, 3, 0),
        "ACTLR": (0x008, 0, ALL),
        "SYST_CSR": (0x010, 0, 7),
        "SYST_RVR": (0x014, 0, 0xFFFFFF),
        "SYST_CVR": (0x018, 0, 0),
        "SYST_CALIB": (0x01C, 0, 0),
        "CPUID": (0xD00, identity.cpuid, 0),
        "VTOR": (0xD08, 0, 0xFFFFFF80),
        "AIRCR": (0xD0C, 0xFA050000, 0x700),
        "SCR": (0xD10, 0, 0x16),
        "CCR": (0xD14, 0x00040200, 0x0003031A),
        **{name: (at, 0, 0) for name, at in STATUS.items()},
        "MMFAR": (0xD34, 0, ALL),
        "BFAR": (0xD38, 0, ALL),
        "AFSR": (0xD3C, 0, 0),
        "CLIDR": (0xD78, 0x09000003, 0),
        "CTR": (0xD7C, 0x8303C003, 0),
        "CCSIDR": (0xD80, 0, 0),
        "CSSELR": (0xD84, 0, 0xF),
        "CPACR": (0xD88, 0, 0x00F00000),
        "DHCSR": (0xDF0, 0, 0),
        "DEMCR": (0xDFC, 0, 1 << TRCENA),
        "FPCCR": (0xF34, 0xC0000000, 0xC0000000),
        "FPCAR": (0xF38, 0, ALL),
        "FPDSCR": (0xF3C, 0, 0x07C00000),
        "MVFR0": (0xF40, identity.mvfr0, 0),
        "MVFR1": (0xF44, 0x11000011, 0),
        "MVFR2": (0xF48, 0x00000040, 0),
        "ITCMCR": (0xF90, 0x1, 0x7),
        "DTCMCR": (0xF94, 0x1, 0x7),
        "AHBPCR": (0xF98, 0x1, 0x1),
        "CACR": (0xF9C, 0, 0x7),
        "AHBSCR": (0xFA0, 0x800, 0xFFFF),
        "ABFSR": (0xFA8, 0, 0),
    }
    for at, operation in CACHE_OPERATIONS.items():
        layout[operation] = (at, 0, 0)
    return layout


class SystemEvents(Protocol):
    """What the system control space asks of the chip around it."""

    def now_cycles(self) -> float:
        """Core cycles since power-on at the present access."""

    def reset_requested(self) -> None:
        """AIRCR.SYSRESETREQ was written."""

    def caches_changed(self, instruction: bool, data: bool) -> None:
        """CCR's cache enable bits after a write."""

    def write_through_changed(self, on: bool) -> None:
        """CACR.FORCEWT after a write."""

    def data_cache_maintained(
        self, operand: int, by_way: bool, clean: bool, invalidate: bool
    ) -> None:
        """A maintenance operation on a data line was written."""

    def instruction_cache_invalidated(self) -> None:
        """ICIALLU was written."""

    def trace_changed(self) -> None:
        """DEMCR was written: the cycle counter may start or freeze."""

    def fpu_changed(self) -> None:
        """CPACR was written."""

    def interrupts_changed(self) -> None:
        """The interrupt controller, SysTick or the MPU was written: see what may run now."""

    def running_exception(self) -> int:
        """IPSR."""

    def interrupt_lines(self) -> int:
        """Exceptions whose request line is high now, a bit each."""


class SysTick:
    """The 24-bit down counter, computed from the cycle counter."""

    def __init__(self, now_cycles: Callable[[], float]) -> None:
        self._now = now_cycles
        self._control = 0
        self._reload = 0
        self._value = 0  # at _since
        self._since = 0.0
        self._counted = False
        self._expired = False  # passed from 1 to 0 since the last look, with TICKINT set

    @property
    def _divider(self) -> int:
        """Core cycles a tick. The external reference is HCLK / 8 on STM32 (RM0385 section 5.2)."""
        return 1 if self._control >> TICK_CORE_CLOCK & 1 else 8

    @property
    def _interrupts(self) -> bool:
        return self._control & 3 == 1 << TICK_ENABLE | 1 << TICK_INTERRUPT

    def take_expiry(self) -> bool:
        """Whether the exception has become due since the last call."""
        if self._interrupts:
            self._update()
        expired, self._expired = self._expired, False
        return expired

    def next_expiry_cycles(self) -> float:
        """The cycle at which the exception becomes due next; infinite if it never does."""
        if not self._interrupts or (self._reload == 0 and self._value == 0):
            return math.inf
        ticks = self._value or self._reload + 1
        return self._since + ticks * self._divider

    def _update(self) -> None:
        """Bring the counter to the present cycle."""
        now = self._now()
        if self._control >> TICK_ENABLE & 1:
            ticks = int((now - self._since) / self._divider)
            self._since += ticks * self._divider
            self._count(ticks)
        else:
            self._since = now

    def _count(self, ticks: int) -> None:
        if ticks == 0 or (self._reload == 0 and self._value == 0):
            return
        if ticks < self._value:
            self._value -= ticks
            return
        if self._value > 0:
            self._reached_zero()
            ticks -= self._value
        if self._reload == 0:
            self._value = 0
            return
        wraps, rest = divmod(ticks, self._reload + 1)
        if wraps > 0:
            self._reached_zero()
        self._value = 0 if rest == 0 else self._reload + 1 - rest

    def _reached_zero(self) -> None:
        self._counted = True
        self._expired = self._expired or self._interrupts

    def read(self, register: str) -> int:
        """SYST_CSR, SYST_RVR or SYST_CVR."""
        self._update()
        if register == "SYST_RVR":
            return self._reload
        if register == "SYST_CVR":
            return self._value
        counted, self._counted = self._counted, False
        return self._control | counted << TICK_COUNTED

    def write(self, register: str, value: int) -> None:
        """Write one of the three; any write to SYST_CVR clears it."""
        self._update()
        if register == "SYST_RVR":
            self._reload = value & 0xFFFFFF
        elif register == "SYST_CVR":
            self._value, self._counted = 0, False
        else:
            self._control = value & 7


class SystemControlSpace:
    """0xE000E000: SCB, NVIC enables, SysTick, MPU registers, cache maintenance."""

    name = "SCS"

    def __init__(self, events: SystemEvents, identity: Identity) -> None:
        self._file = RegisterFile(self.name, _scs_layout(identity))
        self._identity = identity
        self._events = events
        self.mpu = Mpu()
        self.systick = SysTick(events.now_cycles)
        self.nvic = Nvic(
            events.interrupts_changed, events.interrupt_lines, self.systick.take_expiry
        )

    @property
    def registers(self) -> RegisterFile:
        """The plain registers, for the exception model, which sets the status ones."""
        return self._file

    @property
    def fp_enabled(self) -> bool:
        """CPACR gives full access to CP10 and CP11."""
        return self._file["CPACR"] >> 20 & 0xF == 0xF

    @property
    def has_double(self) -> bool:
        """MVFR0.FPDP: the FPU knows double precision."""
        return self._identity.mvfr0 >> 8 & 0xF != 0

    @property
    def trace_enabled(self) -> bool:
        """DEMCR.TRCENA."""
        return self._file.bit("DEMCR", TRCENA)

    def set_vector_table(self, address: int) -> None:
        """VTOR as the boot option leaves it."""
        self._file["VTOR"] = address

    def read(self, offset: int) -> int:
        if offset in nvic.OFFSETS:
            return self.nvic.read(offset, self._events.running_exception())
        if offset in mpu.OFFSETS:
            return self.mpu.read(offset)
        register = self._file.register(offset)
        if register in ("SYST_CSR", "SYST_RVR", "SYST_CVR"):
            return self.systick.read(register)
        if register == "CCSIDR":
            ways = ICACHE_WAYS if self._file["CSSELR"] & 1 else DCACHE_WAYS
            return self._identity.ccsidr(ways)
        return self._file[register]

    def write(self, offset: int, value: int) -> None:
        if offset in nvic.OFFSETS:
            self.nvic.write(offset, value)
            return
        if offset in mpu.OFFSETS:
            self.mpu.write(offset, value)
            self._events.interrupts_changed()
            return
        register = self._file.register(offset)
        if register in ("SYST_CSR", "SYST_RVR", "SYST_CVR"):
            self.systick.write(register, value)
            self._events.interrupts_changed()
        elif register == "AIRCR":
            self._write_aircr(value)
        elif register in STATUS:
            self._file[register] &= ~value
        elif register == "ABFSR":
            self._file[register] = 0  # any write clears it
        elif register == "ICIALLU":
            self._events.instruction_cache_invalidated()
        elif register in DATA_OPERATIONS:
            self._events.data_cache_maintained(value, *DATA_OPERATIONS[register])
        else:
            _refuse_unmodelled(register, value)
            self._file.store(register, value)
            if register == "CCR":
                self._events.caches_changed(
                    self._file.bit("CCR", CCR_IC), self._file.bit("CCR", CCR_DC)
                )
                if self.mpu.enabled:
                    self._events.interrupts_changed()  # its attributes begin to matter
            elif register == "CACR":
                self._events.write_through_changed(self._file.bit("CACR", FORCEWT))
            elif register == "DEMCR":
                self._events.trace_changed()
            elif register == "CPACR":
                self._events.fpu_changed()

    def _write_aircr(self, value: int) -> None:
        if value >> 16 != VECTKEY:
            return
        self._file.store("AIRCR", value)
        self.nvic.priority_group = value >> 8 & 7
        if value >> SYSRESETREQ & 1:
            self._events.reset_requested()


def _refuse_unmodelled(register: str, value: int) -> None:
    for bit, name in UNMODELLED_BITS.get(register, {}).items():
        if value >> bit & 1:
            raise BusError(f"{register}.{name} set: not modelled; leave it clear on this bench")


DWT_LAYOUT = {
    "CTRL": (0x000, 0x40000000, 0x1),
    "CYCCNT": (0x004, 0, 0),
    "CPICNT": (0x008, 0, 0),
    "EXCCNT": (0x00C, 0, 0),
    "SLEEPCNT": (0x010, 0, 0),
    "LSUCNT": (0x014, 0, 0),
    "FOLDCNT": (0x018, 0, 0),
    "PCSR": (0x01C, 0, 0),
    "LAR": (0xFB0, 0, 0),
    "LSR": (0xFB4, 0, 0),
}


class Dwt:
    """The cycle counter behind its software lock: it stays 0 until LAR and TRCENA are written."""

    name = "DWT"

    def __init__(
        self,
        now_cycles: Callable[[], float],
        trace_enabled: Callable[[], bool],
        on_change: Callable[[float, bool], None],
    ) -> None:
        self._file = RegisterFile(self.name, DWT_LAYOUT)
        self._now = now_cycles
        self._trace_enabled = trace_enabled
        self._on_change = on_change
        self._locked = True
        self._base = 0.0  # CYCCNT is now - base while it runs
        self._held = 0.0  # its value while it stands
        self._running = False

    def _count(self) -> float:
        return self._now() - self._base if self._running else self._held

    def _set(self, count: float) -> None:
        """Give the counter a value now and start or stop it as its switches say."""
        self._running = self._file.bit("CTRL", 0) and self._trace_enabled()
        self._held = count
        self._base = self._now() - count
        self._on_change(self._base, self._running)

    def trace_changed(self) -> None:
        """DEMCR was written."""
        self._set(self._count())

    def slept(self, cycles: float) -> None:
        """The core clock was gated for ``cycles`` up to now: CYCCNT stood still."""
        if self._running:
            self._set(self._count() - cycles)

    def read(self, offset: int) -> int:
        register = self._file.register(offset)
        if register == "CYCCNT":
            return math.floor(self._count()) & ALL
        if register == "LSR":
            return 1 | self._locked << 1
        return self._file[register]

    def write(self, offset: int, value: int) -> None:
        register = self._file.register(offset)
        if register == "LAR":
            self._locked = value != LAR_KEY
        elif not self._locked and register == "CYCCNT":
            self._set(float(value))
        elif not self._locked:
            count = self._count()
            self._file.store(register, value)
            self._set(count)
