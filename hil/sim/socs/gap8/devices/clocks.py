"""The two frequency-locked loops (FLL): FC at 0x1A100000, cluster at 0x1A100010.

f = 32768 Hz * MULT / 2**(DIV - 1) (GAP SDK archi/fll/fll_v1.h; measured on the vendor
simulator). The loop steps once each period of the 32768 Hz reference, and answers register
accesses at the reference's edges.
"""

from __future__ import annotations

from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.devices.supply import Supply
from hil.sim.socs.gap8.machine import BusFault, Machine

REFERENCE_HZ = 32768
REFERENCE_FS = L.FS_PER_S // REFERENCE_HZ
STATUS, CONF1, CONF2, INTEGRATOR = 0x0, 0x4, 0x8, 0xC
CLOSED_LOOP = 1 << 31  # CONF1
OPEN_LOOP = 1 << 30  # CONF2
# The multiplier that the measured seed INTEGRATOR = 332 (about 70 MHz at DIV 2) stands for.
MULT_PER_INTEGRATOR = 4272 / 332
OPEN_LOOP_MULT = 1525  # 50 MHz at DIV 1: the loop before it is configured (assumed)


def _output_hz(mult: int, conf1: int) -> float:
    divider = max((conf1 >> 26) & 15, 1)
    return REFERENCE_HZ * mult / 2 ** (divider - 1)


class Fll:
    """One FLL, driving one clock domain."""

    def __init__(self, machine: Machine, domain: int, supply: Supply) -> None:
        self._machine = machine
        self._supply = supply
        self._domain = domain
        self.reset()

    def reset(self) -> None:
        """Values read at a firmware's entry: FC loop closed at 50 MHz, cluster loop open."""
        if self._domain == L.DOMAIN_FC:
            self._registers = {CONF1: 0xC54C05F5, CONF2: 0x02000909, INTEGRATOR: 0}
            self._mult = 0x05F5
        else:
            self._registers = {CONF1: 0x454C05F5, CONF2: 0x02004109, INTEGRATOR: 0}
            self._mult = OPEN_LOOP_MULT
        self._stepping = False
        self._apply()

    @property
    def frequency_hz(self) -> float:
        """Output frequency now."""
        return _output_hz(self._mult, self._registers[CONF1])

    def _apply(self) -> None:
        self._machine.set_period(self._domain, round(L.FS_PER_S / self.frequency_hz))

    def next_edge_fs(self) -> int:
        """The next edge of the reference clock."""
        return (self._machine.now_fs // REFERENCE_FS + 1) * REFERENCE_FS

    def read(self, offset: int) -> int:
        """STATUS is the multiplier of the frequency now."""
        if offset == STATUS:
            return self._mult
        return self._registers[offset]

    def write(self, offset: int, value: int) -> None:
        """A new CONF1 lets the frequency slide to its target; BusFault when the core voltage does
        not carry it."""
        if offset == STATUS:
            raise BusFault("FLL STATUS is read-only")
        if offset == CONF2 and value & OPEN_LOOP:
            raise BusFault("FLL in open loop (CONF2 bit 30 set) is not modelled")
        if offset == CONF1:
            if not value & CLOSED_LOOP:
                raise BusFault("FLL in open loop (CONF1 bit 31 clear) is not modelled")
            if value & 0xFFFF == 0:
                raise BusFault("FLL multiplier 0")
            self._supply.use_clock(self._domain, _output_hz(value & 0xFFFF, value))
        was_open = not self._registers[CONF1] & CLOSED_LOOP
        self._registers[offset] = value
        if offset == CONF1:
            if was_open and self._registers[INTEGRATOR]:
                seed = (self._registers[INTEGRATOR] >> 16) & 0x3FF
                self._mult = max(round(seed * MULT_PER_INTEGRATOR), 1)
            self._apply()
            if not self._stepping:
                self._stepping = True
                self._machine.at(self.next_edge_fs(), self._step)

    def _step(self) -> None:
        """One reference period: a quarter of the error is corrected (gain of the default setting
        gives lock in about 20 periods, as measured)."""
        error = (self._registers[CONF1] & 0xFFFF) - self._mult
        if error == 0:
            self._stepping = False
            return
        step = error // 4 if error > 0 else -(-error // 4)
        self._mult += step if step else (1 if error > 0 else -1)
        self._apply()
        self._machine.at(self.next_edge_fs(), self._step)
