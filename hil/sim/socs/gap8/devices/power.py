"""SoC control (0x1A104000) and cluster control (0x10200000): pads, cluster power, start, end.

Pad multiplexers read 0 at a firmware's entry (measured); pull and strength of the pads are kept,
electrical only. Stores to the cluster's own clock gate (+0x20) have no effect.

CL_BYPASS (0x1A104070) bits used: 3 power, 10 clock gated, 13 reset. The FC reaches the cluster's
memory and registers once its power has come, it is clocked, out of reset and not isolated
(CL_ISOLATE, whose value at a firmware's entry is not known: isolated until 0 is written). A gated
clock stops the cluster where it is; L1 loses its contents with the power.
"""

from __future__ import annotations

from collections.abc import Callable

from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8 import profiling
from hil.sim.socs.gap8.devices.gpio import Gpio
from hil.sim.socs.gap8.devices.supply import Supply
from hil.sim.socs.gap8.machine import BusFault, Machine

CL_ISOLATE, CL_BYPASS, CORESTATUS, DCDC = 0x0C, 0x70, 0xA0, 0x100
POWER, CLOCK_GATED, RESET = 1 << 3, 1 << 10, 1 << 13
BYPASS_AT_ENTRY = 0x800
PADFUN, PADCFG = range(0x140, 0x180, 4), range(0x180, 0x1C0, 4)
WRITTEN_FIRST = (CL_ISOLATE, *PADCFG)  # their values at a firmware's entry are not known
NOT_MODELLED = {
    0x6C: "CL_BUSY (the vendor's simulator reads 0 whatever the cluster does)",
    0x74: "the JTAG mailbox (there is no debug bridge)",
}
# Times of the power switch and the clock gate: not published, chosen short but not zero.
POWER_FS = 10 * 10**9
CLOCK_GATE_FS = 10**8
SOC_CLUSTER_POWER, SOC_CLOCK_GATE = 31, 35

FETCH_ENABLE, HWCE_CLOCK, CLUSTER_CLOCK_GATE, BOOT_ADDRESS = 0x008, 0x018, 0x020, 0x040
HWCE_CLOCK_ON = 0xC00  # plp_hwce_enable of the SDK sets both bits
BOOT_OFFSET = 0x80  # the hardware adds it to the boot address


class Cluster:
    """Power, reset, boot addresses and fetch enables of the eight processing elements."""

    def __init__(self, machine: Machine, reset_peripherals: Callable[[], None]) -> None:
        self._machine = machine
        self._reset_peripherals = reset_peripherals
        self.reset()

    def reset(self) -> None:
        """Cores held, boot addresses 0."""
        self._boot = [0] * L.PE_COUNT
        self._fetch = 0
        self._hwce_clock = 0
        for c in range(L.PE_COUNT):
            self._hold(c)
        self._reset_peripherals()

    @property
    def hwce_clocked(self) -> bool:
        """Whether the HWCE's clock is on."""
        return self._hwce_clock & HWCE_CLOCK_ON == HWCE_CLOCK_ON

    def switch(self, powered: bool, in_reset: bool, gated: bool, isolated: bool) -> None:
        """Follows CL_BYPASS and CL_ISOLATE; BusFault when the clock is gated under a HWCE job."""
        state = self._machine.state
        if powered and state.chip[L.CLUSTER_BARRED] == L.F_CLUSTER_OFF:
            state.mem[L.L1_WORD : L.L1_WORD + L.L1_BYTES // 4] = L.POISON
        if in_reset or not powered:
            self.reset()
        if gated and state.chip[L.HWCE_MACS + L.WORK_UNITS]:
            raise BusFault("gating the cluster's clock while the HWCE works is not modelled")
        self._machine.gate_cluster(gated)
        barriers = (
            (not powered, L.F_CLUSTER_OFF), (in_reset, L.F_CLUSTER_RESET),
            (gated, L.F_CLUSTER_GATED), (isolated, L.F_CLUSTER_ISOLATED), (True, 0),
        )  # fmt: skip
        state.chip[L.CLUSTER_BARRED] = next(reason for holds, reason in barriers if holds)

    def read(self, offset: int) -> int:
        """Boot addresses. FETCH_EN must not be read: it stops the vendor simulator's cores."""
        if offset in range(BOOT_ADDRESS, BOOT_ADDRESS + 4 * L.PE_COUNT, 4):
            return self._boot[(offset - BOOT_ADDRESS) // 4]
        if offset == HWCE_CLOCK:
            return self._hwce_clock
        if offset == FETCH_ENABLE:
            raise BusFault("FETCH_EN read (write-only here: reading it hangs the vendor simulator)")
        raise BusFault(f"cluster control has no readable register +0x{offset:x}")

    def write(self, offset: int, value: int) -> None:
        """FETCH_EN starts and stops cores; boot addresses take effect at the start."""
        if offset == FETCH_ENABLE:
            self._fetch = value & 0xFF
            self._follow_fetch()
        elif offset in range(BOOT_ADDRESS, BOOT_ADDRESS + 4 * L.PE_COUNT, 4):
            self._boot[(offset - BOOT_ADDRESS) // 4] = value
        elif offset == HWCE_CLOCK:
            self._hwce_clock = value
        elif offset != CLUSTER_CLOCK_GATE:
            raise BusFault(f"cluster control has no writable register +0x{offset:x}")

    def _follow_fetch(self) -> None:
        core = self._machine.state.core
        for c in range(L.PE_COUNT):
            held = core[c * L.CORE_SPAN + L.MODE] == L.HELD
            if (self._fetch >> c) & 1 and held:
                self._start(c)
            elif not (self._fetch >> c) & 1 and not held:
                self._hold(c)

    def _hold(self, c: int) -> None:
        core, base = self._machine.state.core, c * L.CORE_SPAN
        if core[base + L.MODE] == L.RUNNING:
            active = self._machine.cycle(L.DOMAIN_CLUSTER) - core[base + L.AWAKE_SINCE]
            core[base + L.N_CYCLES] += max(int(active), 0)
        if self._machine.profile is not None and core[base + L.MODE] != L.HELD:
            now = self._machine.cycle(L.DOMAIN_CLUSTER)
            profiling.settle(self._machine.profile, core, base, now)
        core[base + L.MODE] = L.HELD
        core[L.READY + c] = L.NEVER
        self._machine.state.chip[L.DIRTY] = 1

    def _start(self, c: int) -> None:
        core, base = self._machine.state.core, c * L.CORE_SPAN
        core[base + L.HAZARD] = L.NO_HAZARD
        for field in (L.MSTATUS, L.MEPC, L.MCAUSE, L.IRQ_READY, L.PCER, L.PCMR):
            core[base + field] = 0
        for loop in (0, 3):
            core[base + L.LOOP_COUNT + loop] = 0
        cycle = self._machine.cycle(L.DOMAIN_CLUSTER) + 1
        core[base + L.PC] = self._boot[c] + BOOT_OFFSET
        core[base + L.MTVEC] = self._boot[c] & 0xFFFFFF00
        core[base + L.LINE] = -1
        core[base + L.MODE] = L.RUNNING
        core[L.READY + c] = cycle
        core[base + L.AWAKE_SINCE] = cycle
        core[base + L.PROFILE_ROW] = L.DOMAIN_CLUSTER * profiling.DOMAIN_SPAN
        core[base + L.PROFILE_TO] = cycle
        core[base + L.PROFILE_PAUSE] = profiling.NO_PAUSE
        self._machine.state.chip[L.DIRTY] = 1


class SocControl:
    """Pads, cluster power and the exit mailbox."""

    def __init__(self, machine: Machine, cluster: Cluster, gpio: Gpio, supply: Supply) -> None:
        self._machine = machine
        self._cluster = cluster
        self._gpio = gpio
        self._supply = supply
        self.reset()

    def reset(self) -> None:
        """Cluster off; pads at function 0; CL_BYPASS as read at a firmware's entry."""
        self._registers = dict.fromkeys((*PADFUN, CORESTATUS), 0)
        self._registers[CL_BYPASS] = BYPASS_AT_ENTRY
        self._powered = False
        self._power_due_fs = 0
        self._switch_cluster()

    def read(self, offset: int) -> int:
        """Registers read back what was written."""
        if offset == DCDC:
            return self._supply.read_dcdc()
        if offset in WRITTEN_FIRST and offset not in self._registers:
            name = "CL_ISOLATE" if offset == CL_ISOLATE else f"pad configuration +0x{offset:x}"
            raise BusFault(f"{name} read before it was written; its reset value is not known")
        self._check(offset)
        return self._registers[offset]

    def write(self, offset: int, value: int) -> None:
        """CORESTATUS bit 31 ends the program with the low bits as exit code."""
        if offset == DCDC:
            self._supply.write_dcdc(value)
            return
        self._check(offset)
        old = self._registers.get(offset, 0)
        self._registers[offset] = value
        if offset == CORESTATUS and value >> 31:
            self._machine.exit_code = value & 0x7FFFFFFF
        elif offset == CL_BYPASS:
            self._bypass(old ^ value)
        elif offset == CL_ISOLATE:
            self._switch_cluster()
        elif offset in PADFUN:
            self._gpio.pad_function(offset, value)

    def _check(self, offset: int) -> None:
        if offset not in self._registers and offset not in WRITTEN_FIRST:
            name = NOT_MODELLED.get(offset, f"SoC control register +0x{offset:x}")
            raise BusFault(f"{name} is not modelled")

    def _bypass(self, changed: int) -> None:
        now = self._machine.now_fs
        if changed & POWER:
            self._powered = False
            self._power_due_fs = now + POWER_FS
            self._machine.at(self._power_due_fs, self._end_power)
        if changed & CLOCK_GATED:
            self._machine.at(now + CLOCK_GATE_FS, lambda: self._done(SOC_CLOCK_GATE))
        self._switch_cluster()

    def _end_power(self) -> None:
        if self._machine.now_fs < self._power_due_fs:
            return  # switched again meanwhile
        self._powered = bool(self._registers[CL_BYPASS] & POWER)
        self._switch_cluster()
        self._done(SOC_CLUSTER_POWER)

    def _switch_cluster(self) -> None:
        bypass = self._registers[CL_BYPASS]
        isolated = bool(self._registers.get(CL_ISOLATE, 1) & 1)
        self._cluster.switch(
            self._powered, bool(bypass & RESET), bool(bypass & CLOCK_GATED), isolated
        )

    def _done(self, number: int) -> None:
        self._machine.soc_events.raise_event(number)
        direct = L.EVENT_CLUSTER_ON if number == SOC_CLUSTER_POWER else L.EVENT_CLOCK_GATE
        self._machine.raise_core_event(L.FC, direct)
