"""The core voltage: DC/DC set points (0x1A104100) and the PMU (0x1A107000) that goes between them.

A change is what the GAP SDK's rt_voltage_force does: write the set point of the state that is not
in use, then have the PMU run the sequence of that state. Registers: archi/maestro/pmu_v1.h and
maestro_v1_new.h, limits of the clocks: energy.CLOCK_LIMITS_HZ. Other sequences (sleep, retention)
and accesses to other PMU components are refused by name.
"""

from __future__ import annotations

from hil.sim.socs.gap8 import energy
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.machine import BusFault, Machine

PCTRL, IMR, IFR = 0x00, 0x0C, 0x10
START = 1 << 0
# PCTRL of a sequence: its bit for the wake-up unit's interrupt flags (address 3), and START
SEQUENCE_ADDRESS, SEQUENCE_SHIFT = 3 << 1 | START, 16
# state: sequence number, bit position of its set point
NORMAL, LOW = "NV", "LV"
SEQUENCES = {1 << 2: NORMAL, 1 << 3: LOW}
SET_POINT_SHIFT = {NORMAL: 0, LOW: 16}
SET_POINT_MASK = 31
BASE_MV, STEP_MV = 550, 50
LOW_AT_START_V = 1.0  # the SDK's default set point
PICL_OK, SCU_OK = 1 << 3, 1 << 4  # IMR, IFR
EVENTS = {PICL_OK: (36, 24), SCU_OK: (37, 25)}  # SoC event, FC event
# How long a change takes is not published: chosen short but not zero.
CHANGE_FS = 10 * 10**9
DOMAINS = {L.DOMAIN_FC: "FC", L.DOMAIN_CLUSTER: "cluster"}
RESET_HZ = 50e6  # both loops, see clocks
ROUNDING = 1.001  # a clock limit is a multiple of the reference only to 0.1 %


class Supply:
    """The voltage now, its set points and the clocks that it must carry."""

    def __init__(self, machine: Machine, start_v: float) -> None:
        """``start_v``: between 1.0 and 1.2 V, else SimulationError."""
        energy.check_voltage(start_v)
        self._machine = machine
        self._start_v = start_v
        self.reset()

    def reset(self) -> None:
        """The start's voltage, in state NV."""
        self._set_points_v = {NORMAL: self._start_v, LOW: LOW_AT_START_V}
        self._dcdc: int | None = None
        self._imr = self._ifr = 0
        self._pctrl = 0
        self._clocks_hz = dict.fromkeys(DOMAINS, RESET_HZ)
        self._target_v = self._start_v
        self._set_voltage(self._start_v)

    def _set_voltage(self, volts: float) -> None:
        """From here on; the energy bin under way counts as if it had been so all along."""
        self.volts = volts
        table = self._machine.state.energy
        first = L.ENERGY_COEFFICIENT
        table[first : first + L.ENERGY_TERMS] = energy.coefficients(volts)

    # --- what the clocks ask ---------------------------------------------------------------------

    def use_clock(self, domain: int, clock_hz: float) -> None:
        """A loop is set to ``clock_hz``; BusFault when the voltage does not carry it."""
        self._check(domain, clock_hz, min(self.volts, self._target_v))
        self._clocks_hz[domain] = clock_hz

    def _check(self, domain: int, clock_hz: float, volts: float) -> None:
        limit_hz = energy.clock_limits_hz(volts)[domain]
        if clock_hz > limit_hz * ROUNDING:
            raise BusFault(
                f"{DOMAINS[domain]} clock of {clock_hz / 1e6:.1f} MHz at {volts:.2f} V, which "
                f"carries {limit_hz / 1e6:.1f} MHz: raise the voltage first (DC/DC 0x1A104100, "
                "then the PMU's sequence) or start the chip at a higher one"
            )

    # --- registers -------------------------------------------------------------------------------

    def read_dcdc(self) -> int:
        """The set points as written."""
        if self._dcdc is None:
            raise BusFault("DC/DC set points (0x1A104100) read before they were written; what the "
                           "boot ROM leaves there is not known")  # fmt: skip
        return self._dcdc

    def write_dcdc(self, value: int) -> None:
        """Set points of both states; nothing changes before the PMU runs a sequence."""
        self._dcdc = value
        for state, shift in SET_POINT_SHIFT.items():
            self._set_points_v[state] = (
                BASE_MV + STEP_MV * (value >> shift & SET_POINT_MASK)
            ) / 1e3

    def read(self, offset: int) -> int:
        """PCTRL with its start bit while a sequence runs, interrupt mask and flags."""
        if offset == PCTRL:
            return self._pctrl
        if offset == IMR:
            return self._imr
        if offset == IFR:
            return self._ifr
        raise BusFault(f"PMU register +0x{offset:x} is not modelled")

    def write(self, offset: int, value: int) -> None:
        """PCTRL starts a sequence; IFR clears the flags written as ones."""
        if offset == PCTRL:
            self._sequence(value)
        elif offset == IMR:
            self._imr = value
        elif offset == IFR:
            self._ifr &= ~value
        else:
            raise BusFault(f"PMU register +0x{offset:x} is not modelled")

    def _sequence(self, value: int) -> None:
        bits = value >> SEQUENCE_SHIFT
        if value & ((1 << SEQUENCE_SHIFT) - 1) != SEQUENCE_ADDRESS or bits not in SEQUENCES:
            raise BusFault(f"PMU access PCTRL = 0x{value:08x} is not modelled; sequences 2 (NV) "
                           "and 3 (LV) are, they change the core voltage")  # fmt: skip
        if self._pctrl & START:
            raise BusFault("PMU sequence started while one runs")
        state = SEQUENCES[bits]
        volts = self._set_points_v[state]
        if not energy.LOWEST_V <= volts <= energy.HIGHEST_V:
            raise BusFault(f"PMU: {state} set point of {volts:.2f} V; the model knows "
                           f"{energy.LOWEST_V} to {energy.HIGHEST_V} V")  # fmt: skip
        for domain, clock_hz in self._clocks_hz.items():
            self._check(domain, clock_hz, volts)
        self._pctrl, self._target_v = value, volts
        self._machine.at(self._machine.now_fs + CHANGE_FS, self._finish)

    def _finish(self) -> None:
        self._pctrl &= ~START
        self._set_voltage(self._target_v)
        for flag, (soc_event, fc_event) in EVENTS.items():
            self._ifr |= flag
            if not self._imr & flag:
                self._machine.soc_events.raise_event(soc_event)
                self._machine.raise_core_event(L.FC, fc_event)
