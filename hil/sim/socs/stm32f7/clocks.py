"""RCC, PWR and FLASH_ACR: the clock tree, and the rules under which 216 MHz is allowed.

Reference: RM0385 sections 3 (flash), 4 (power) and 5 (clocks); bit positions as in the CMSIS
device header. A real chip that runs too fast for its flash or its core voltage fails in random
ways; this one stops with a fault that says which rule was broken.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.sim.cores.cortex_m7.bus import BusError
from hil.sim.cores.cortex_m7.nvic import members
from hil.sim.cores.cortex_m7.registers import RegisterFile
from hil.sim.socs.stm32f7.timeline import HSI_HZ, Timeline

ALL = 0xFFFFFFFF
HSE_HZ = 8_000_000.0  # MCO of the Nucleo's ST-Link, a square wave: needs HSEBYP (UM1974)

# Start-up times; typical values of the datasheet's oscillator tables, from memory.
HSI_START_S, HSE_BYPASS_START_S, PLL_LOCK_S, OVER_DRIVE_S = 2.2e-6, 2e-6, 100e-6, 45e-6
LSI_START_S = 15e-6

VCO_IN_HZ, VCO_OUT_HZ = (0.95e6, 2.1e6), (100e6, 432e6)
PCLK1_MAX_HZ, PCLK2_MAX_HZ = 54e6, 108e6
# Fastest HCLK at 2.7-3.6 V for each number of flash wait states.
FLASH_MAX_HZ = (30e6, 60e6, 90e6, 120e6, 150e6, 180e6, 210e6, 216e6)
# Fastest HCLK for each regulator scale (PWR_CR1.VOS), without and with over-drive.
SCALE_MAX_HZ = {3: (180e6, 216e6), 2: (168e6, 180e6), 1: (144e6, 144e6), 0: (144e6, 144e6)}

HSION, HSIRDY, HSEON, HSERDY, HSEBYP, PLLON, PLLRDY = 0, 1, 16, 17, 18, 24, 25
PLLI2SON, PLLSAION = 26, 28
ODEN, ODSWEN, VOSRDY, ODRDY, ODSWRDY = 16, 17, 14, 16, 17
PRFTEN, ARTEN, ARTRST = 8, 9, 11
PLLSRC, TIMPRE, LSION, LSIRDY = 22, 24, 0, 1
VOS = 3 << 14
PORRSTF, PINRSTF, SFTRSTF, BORRSTF, RMVF = 27, 26, 28, 25, 24

RCC_LAYOUT = {
    "CR": (0x00, 0x00000083, 0x150D00F9),
    "PLLCFGR": (0x04, 0x24003010, 0x7F437FFF),
    "CFGR": (0x08, 0, 0xFFFFFCF3),
    "CIR": (0x0C, 0, 0x00007F00),
    "AHB1RSTR": (0x10, 0, ALL),
    "AHB2RSTR": (0x14, 0, ALL),
    "AHB3RSTR": (0x18, 0, ALL),
    "APB1RSTR": (0x20, 0, ALL),
    "APB2RSTR": (0x24, 0, ALL),
    "AHB1ENR": (0x30, 0x00100000, ALL),
    "AHB2ENR": (0x34, 0, ALL),
    "AHB3ENR": (0x38, 0, ALL),
    "APB1ENR": (0x40, 0, ALL),
    "APB2ENR": (0x44, 0, ALL),
    "AHB1LPENR": (0x50, 0x7EF7B7FF, ALL),
    "AHB2LPENR": (0x54, 0x000000F1, ALL),
    "AHB3LPENR": (0x58, 0x00000003, ALL),
    "APB1LPENR": (0x60, 0xFFFFCBFF, ALL),
    "APB2LPENR": (0x64, 0x04F77F33, ALL),
    "BDCR": (0x70, 0, 0x0001831D),
    "CSR": (0x74, 0x0E000000, 0x00000001),
    "SSCGR": (0x80, 0, ALL),
    "PLLI2SCFGR": (0x84, 0x24003000, ALL),
    "PLLSAICFGR": (0x88, 0x24003000, ALL),
    "DCKCFGR1": (0x8C, 0, ALL),
    "DCKCFGR2": (0x90, 0, ALL),
}
PWR_LAYOUT = {
    "CR1": (0x00, 0x0000C000, 0x000FFFFF),
    "CSR1": (0x04, 0, 0x00000200),
    "CR2": (0x08, 0, 0x00003F3F),
    "CSR2": (0x0C, 0, 0x00003F00),
}
FLASH_LAYOUT = {
    "ACR": (0x00, 0, 0x00000B0F),
    "KEYR": (0x04, 0, 0),
    "OPTKEYR": (0x08, 0, 0),
    "SR": (0x0C, 0, 0),
    "CR": (0x10, 0x80000000, 0),
    "OPTCR1": (0x18, 0x00400080, 0),
}
SYSCFG_LAYOUT = {
    "MEMRMP": (0x00, 0, 0x00000C00),
    "PMC": (0x04, 0, 0x00800000),
    "EXTICR1": (0x08, 0, 0xFFFF),
    "EXTICR2": (0x0C, 0, 0xFFFF),
    "EXTICR3": (0x10, 0, 0xFFFF),
    "EXTICR4": (0x14, 0, 0xFFFF),
    "CMPCR": (0x20, 0x00000100, 0x00000001),
}


class Ready:
    """A ready flag that follows its enable bit after a start-up time."""

    def __init__(self, timeline: Timeline, start_s: float, ready: bool = False) -> None:
        self._timeline = timeline
        self._start_s = start_s
        self._at_s: float | None = 0.0 if ready else None

    def enable(self, on: bool) -> None:
        """The enable bit was written."""
        if not on:
            self._at_s = None
        elif self._at_s is None:
            self._at_s = self._timeline.now_s + self._start_s

    def __bool__(self) -> bool:
        return self._at_s is not None and self._timeline.now_s >= self._at_s


class Pwr:
    """Regulator scale and over-drive."""

    name = "PWR"

    def __init__(
        self,
        timeline: Timeline,
        on_change: Callable[[], None],
        pll_is_on: Callable[[], bool],
        warn: Callable[[str], None],
    ) -> None:
        self._file = RegisterFile(self.name, PWR_LAYOUT)
        self._on_change, self._pll_is_on, self._warn = on_change, pll_is_on, warn
        self._over_drive = Ready(timeline, OVER_DRIVE_S)
        self._switching = Ready(timeline, OVER_DRIVE_S)

    def reset(self) -> None:
        """By APB1RSTR."""
        self._file.reset()
        self._cr1_changed()

    @property
    def scale(self) -> int:
        """VOS field: 3 is scale 1, the fastest."""
        return self._file["CR1"] >> 14 & 3

    @property
    def over_drive(self) -> bool:
        """Over-drive is on and switched to the core."""
        return bool(self._over_drive) and bool(self._switching)

    def read(self, offset: int) -> int:
        register = self._file.register(offset)
        if register != "CSR1":
            return self._file[register]
        ready = 1 << VOSRDY | bool(self._over_drive) << ODRDY | bool(self._switching) << ODSWRDY
        return self._file["CSR1"] | ready

    def write(self, offset: int, value: int) -> None:
        register = self._file.register(offset)
        if register == "CR1" and (value ^ self._file["CR1"]) & VOS and self._pll_is_on():
            self._warn("PWR_CR1.VOS written while the PLL is on: ignored")  # RM0385 4.4.1
            value = value & ~VOS | self._file["CR1"] & VOS
        self._file.store(register, value)
        if register == "CR1":
            self._cr1_changed()

    def _cr1_changed(self) -> None:
        self._over_drive.enable(self._file.bit("CR1", ODEN))
        # RM0385 4.1.4: ODSWEN only after ODRDY; set early it is ignored here.
        self._switching.enable(self._file.bit("CR1", ODSWEN) and bool(self._over_drive))
        self._on_change()


class Flash:
    """The flash interface: wait states, prefetch, ART. Programming is not modelled."""

    name = "FLASH"

    def __init__(
        self,
        option_word: int,
        on_change: Callable[[], None],
        forget_art: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        layout = {**FLASH_LAYOUT, "OPTCR": (0x14, option_word, 0)}
        self._file = RegisterFile(self.name, layout)
        self._on_change, self._forget_art, self._warn = on_change, forget_art, warn

    @property
    def wait_states(self) -> int:
        """ACR.LATENCY."""
        return self._file["ACR"] & 0xF

    @property
    def accelerator(self) -> bool:
        """The ART accelerator is on."""
        return self._file.bit("ACR", ARTEN)

    @property
    def prefetch(self) -> bool:
        """The next line is read ahead."""
        return self._file.bit("ACR", PRFTEN)

    def read(self, offset: int) -> int:
        return self._file[self._file.register(offset)]

    def write(self, offset: int, value: int) -> None:
        register = self._file.register(offset)
        if register != "ACR":
            raise BusError(f"FLASH_{register}: programming the flash is not modelled")
        self._file.store(register, value)
        if self._file.bit("ACR", ARTRST):
            self._reset_art()
        self._on_change()

    def _reset_art(self) -> None:
        if self.accelerator:  # RM0385 3.7.1: only while it is off
            self._warn("FLASH_ACR.ARTRST written while ARTEN is set: ignored")
        else:
            self._forget_art()


class Rcc:
    """The clock tree, and the peripherals' clock enables and resets.

    ``on_change`` is called whenever a clock of the tree may have changed, ``on_reset`` (register,
    bit) when a reset bit has been set.
    """

    name = "RCC"

    def __init__(
        self,
        timeline: Timeline,
        on_change: Callable[[], None],
        on_reset: Callable[[str, int], None],
        warn: Callable[[str], None],
    ) -> None:
        self._file = RegisterFile(self.name, RCC_LAYOUT)
        self._on_change, self._on_reset = on_change, on_reset
        self._warn = warn
        self._hsi = Ready(timeline, HSI_START_S, ready=True)
        self._hse = Ready(timeline, HSE_BYPASS_START_S)
        self._pll = Ready(timeline, PLL_LOCK_S)
        self._lsi = Ready(timeline, LSI_START_S)
        self._source = 0  # SWS

    def take_reset_causes(self, before: Rcc) -> None:
        """After SYSRESETREQ CSR keeps the flags of ``before`` and gains SFTRSTF and PINRSTF."""
        self._file["CSR"] = before._file["CSR"] | 1 << SFTRSTF | 1 << PINRSTF

    def runs(self, bus: str, number: int) -> bool:
        """A peripheral has its clock and is not in reset: its bit in ENR and RSTR of ``bus``."""
        return self._file.bit(f"{bus}ENR", number) and not self._file.bit(f"{bus}RSTR", number)

    @property
    def pll_is_on(self) -> bool:
        """CR.PLLON."""
        return self._file.bit("CR", PLLON)

    # Frequencies

    def pll_hz(self) -> float:
        """PLLCLK; BusError if the VCO is asked to leave its range."""
        value = self._file["PLLCFGR"]
        m, n, p = value & 0x3F, value >> 6 & 0x1FF, 2 * (value >> 16 & 3) + 2
        source = HSE_HZ if value >> PLLSRC & 1 else HSI_HZ
        if m < 2 or not 50 <= n <= 432:
            raise BusError(f"PLLCFGR M={m} N={n}: M must be 2..63, N 50..432")
        vco_in, vco_out = source / m, source / m * n
        if not VCO_IN_HZ[0] <= vco_in <= VCO_IN_HZ[1]:
            raise BusError(f"PLL input {vco_in / 1e6:g} MHz, must be 1..2 MHz: change M={m}")
        if not VCO_OUT_HZ[0] <= vco_out <= VCO_OUT_HZ[1]:
            raise BusError(f"PLL VCO {vco_out / 1e6:g} MHz, must be 100..432 MHz: change N={n}")
        return vco_out / p

    def sysclk_hz(self) -> float:
        """The system clock of the source in use."""
        if self._source == 2:
            return self.pll_hz()
        return HSE_HZ if self._source == 1 else HSI_HZ

    def hclk_hz(self) -> float:
        """AHB and core clock."""
        code = self._file["CFGR"] >> 4 & 0xF
        shifts = (1, 2, 3, 4, 6, 7, 8, 9)
        return self.sysclk_hz() / (1 << shifts[code - 8] if code >= 8 else 1)

    def pclk_hz(self, bus: int) -> float:
        """APB1 or APB2 clock."""
        return self.hclk_hz() / self._divider(bus)

    def timer_hz(self, bus: int) -> float:
        """Clock of the timers on APB ``bus``: that of HCLK by 1 or by half of the APB's divider,
        with DCKCFGR1.TIMPRE by a quarter (RM0385 5.3.25)."""
        fraction = 4 if self._file.bit("DCKCFGR1", TIMPRE) else 2
        return self.hclk_hz() / max(1, self._divider(bus) / fraction)

    def _divider(self, bus: int) -> int:
        code = self._file["CFGR"] >> (10 if bus == 1 else 13) & 7
        return 1 << (code - 3) if code >= 4 else 1

    def uart_hz(self, field_shift: int, bus: int) -> float:
        """Kernel clock of a USART whose DCKCFGR2 field starts at bit ``field_shift``."""
        choice = self._file["DCKCFGR2"] >> field_shift & 3
        if choice == 3:
            raise BusError("a USART clocked by LSE: the Nucleo's LSE is not modelled")
        return (self.pclk_hz(bus), self.sysclk_hz(), HSI_HZ)[choice]

    # Registers

    def read(self, offset: int) -> int:
        register = self._file.register(offset)
        self._try_switch()
        if register == "CR":
            ready = bool(self._hsi) << HSIRDY | bool(self._hse) << HSERDY
            return self._file["CR"] & ~(1 << HSIRDY) | ready | bool(self._pll) << PLLRDY
        if register == "CFGR":
            return self._file["CFGR"] & ~0xC | self._source << 2
        if register == "CSR":
            return self._file["CSR"] | bool(self._lsi) << LSIRDY
        return self._file[register]

    def write(self, offset: int, value: int) -> None:
        register = self._file.register(offset)
        if register == "PLLCFGR" and self._file.bit("CR", PLLON):
            self._warn("RCC_PLLCFGR written while the PLL is on: ignored")
            return
        if register == "CSR":
            self._write_csr(value)
            return
        if register == "BDCR" and value:
            raise BusError(f"RCC_BDCR = 0x{value:x}: LSE and the backup domain are not modelled")
        before = self._file[register]
        self._file.store(register, self._kept_in_cr(value) if register == "CR" else value)
        if register == "CR":
            self._cr_changed()
        elif register.endswith("RSTR"):
            for number in members(self._file[register] & ~before):
                self._on_reset(register, number)
        if register in ("CFGR", "CR", "DCKCFGR1", "DCKCFGR2"):
            self._try_switch()
            self._on_change()

    def _write_csr(self, value: int) -> None:
        if value >> RMVF & 1:
            self._file["CSR"] &= 0x00FFFFFF
        self._file.store("CSR", value)
        self._lsi.enable(self._file.bit("CSR", LSION))

    def _kept_in_cr(self, value: int) -> int:
        """A value for CR with the bits that cannot change now (RM0385 5.3.1).

        The oscillators behind the system clock stay on; HSEBYP is written only while HSE is off.
        """
        behind_pll = HSEON if self._file.bit("PLLCFGR", PLLSRC) else HSION
        kept = (1 << HSION, 1 << HSEON, 1 << PLLON | 1 << behind_pll)[self._source]
        if kept & ~value:
            self._warn("RCC_CR: an oscillator behind the system clock was switched off: ignored")
        if self._file.bit("CR", HSEON):
            value = value & ~(1 << HSEBYP) | self._file["CR"] & 1 << HSEBYP
        return value | kept

    def _cr_changed(self) -> None:
        control = self._file["CR"]
        if control & (1 << PLLI2SON | 1 << PLLSAION):
            raise BusError("PLLI2S and PLLSAI are not modelled")
        self._hsi.enable(bool(control >> HSION & 1))
        # Without bypass the oscillator waits for a crystal that the Nucleo does not carry.
        self._hse.enable(bool(control >> HSEON & control >> HSEBYP & 1))
        if self.pll_is_on:
            self.pll_hz()
        self._pll.enable(self.pll_is_on and self._pll_source_is_on())

    def _pll_source_is_on(self) -> bool:
        control, from_hse = self._file["CR"], self._file.bit("PLLCFGR", PLLSRC)
        on = control >> HSEON & control >> HSEBYP & 1 if from_hse else control >> HSION & 1
        if not on:
            source = "HSE" if from_hse else "HSI"
            self._warn(f"RCC_CR.PLLON set while its source {source} is off: the PLL does not lock")
        return bool(on)

    def _try_switch(self) -> None:
        wanted = self._file["CFGR"] & 3
        if wanted == self._source:
            return
        if wanted == 3:
            raise BusError("RCC_CFGR.SW = 3 is reserved")
        if (self._hsi, self._hse, self._pll)[wanted]:
            self._source = wanted
            self._on_change()


def check_limits(rcc: Rcc, pwr: Pwr, flash: Flash) -> None:
    """BusError if the clocks in force break a rule of the datasheet."""
    hclk, scale = rcc.hclk_hz(), pwr.scale
    mhz = hclk / 1e6
    states = flash.wait_states
    if states > 9 or hclk > FLASH_MAX_HZ[min(states, 7)]:
        need = next((n for n, limit in enumerate(FLASH_MAX_HZ) if hclk <= limit), None)
        raise BusError(
            f"HCLK {mhz:g} MHz with {states} flash wait states; FLASH_ACR.LATENCY must be "
            f"{'7 and HCLK at most 216 MHz' if need is None else need}"
        )
    limit = SCALE_MAX_HZ[scale][pwr.over_drive]
    if hclk > limit:
        raise BusError(
            f"HCLK {mhz:g} MHz with PWR_CR1.VOS={scale} and over-drive "
            f"{'on' if pwr.over_drive else 'off'}: at most {limit / 1e6:g} MHz; "
            "set VOS=3, ODEN, ODSWEN and wait for ODSWRDY before switching"
        )
    for bus, most in ((1, PCLK1_MAX_HZ), (2, PCLK2_MAX_HZ)):
        if rcc.pclk_hz(bus) > most:
            raise BusError(
                f"PCLK{bus} {rcc.pclk_hz(bus) / 1e6:g} MHz, at most {most / 1e6:g} MHz: "
                f"raise RCC_CFGR.PPRE{bus}"
            )
