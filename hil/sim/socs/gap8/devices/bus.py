"""Which device answers at which address, for the accesses the engine leaves to Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.devices.absent import ABSENT, Absent
from hil.sim.socs.gap8.devices.clocks import Fll
from hil.sim.socs.gap8.devices.gpio import Gpio
from hil.sim.socs.gap8.devices.hwce import Hwce
from hil.sim.socs.gap8.devices.hyperbus import HyperBus
from hil.sim.socs.gap8.devices.power import Cluster, SocControl
from hil.sim.socs.gap8.devices.supply import Supply
from hil.sim.socs.gap8.devices.timers import TimerPair
from hil.sim.socs.gap8.devices.uart import Uart
from hil.sim.socs.gap8.machine import BusFault, Machine

UDMA_CLOCK_GATES = 0x1A102780
HYPER_CHANNEL, UART_CHANNEL = 3, 4
STDOUT, STDOUT_END = 0x1A110000, 0x1A111000
FC_SOC_EVENT_FIFO = 0x1B200F00


class Device(Protocol):
    """A block of registers; offsets in bytes from its base."""

    def read(self, offset: int) -> int:
        """The register's value; BusFault when there is none."""

    def write(self, offset: int, value: int) -> None:
        """Writes a register; BusFault when there is none."""


@dataclass(frozen=True)
class Window:
    """An address range of a device."""

    base: int
    size: int
    device: Device
    name: str


class ICache:
    """Control of one instruction cache: enable (+0x0), flush (+0x4), flush a line (+0x8)."""

    def __init__(self, machine: Machine, domain: int) -> None:
        self._machine = machine
        self._domain = domain

    def reset(self) -> None:
        """Off and empty."""
        self._machine.state.chip[L.CACHE_ON + self._domain] = 0
        self.flush()

    def flush(self) -> None:
        """Forgets all lines."""
        cache, d = self._machine.state.cache, self._domain
        cache[d * L.L2_LINES : (d + 1) * L.L2_LINES] = L.NEVER
        first = L.CACHE_TAGS + (0 if d == 0 else L.CACHE_WAYS * L.CACHE_SETS[0])
        cache[first : first + L.CACHE_WAYS * L.CACHE_SETS[d]] = -1

    def read(self, offset: int) -> int:
        """The enable register reads 0 (measured on the vendor simulator)."""
        if offset != 0:
            raise BusFault(f"instruction cache register +0x{offset:x} is not readable")
        return 0

    def write(self, offset: int, value: int) -> None:
        """Enable, flush all, flush one line (taken as a flush of all)."""
        if offset == 0:
            self._machine.state.chip[L.CACHE_ON + self._domain] = int(value != 0)
            if value == 0:
                self.flush()
        elif offset in (4, 8):
            self.flush()
        else:
            raise BusFault(f"instruction cache has no register +0x{offset:x}")


class _SocFifo:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def read(self, offset: int) -> int:
        """Pops the FC's SoC event FIFO."""
        return self._machine.soc_events.pop()

    def write(self, offset: int, value: int) -> None:
        """The FIFO is read-only."""
        raise BusFault("the SoC event FIFO is read-only")


class _UdmaClocks:
    def __init__(self) -> None:
        self.value = 0

    def reset(self) -> None:
        self.value = 0

    def read(self, offset: int) -> int:
        """Clock enables of the uDMA channels."""
        return self.value

    def write(self, offset: int, value: int) -> None:
        """HyperBus and UART are modelled behind their gates."""
        self.value = value


class Bus:
    """All Python devices of the chip."""

    def __init__(self, machine: Machine, start_v: float) -> None:
        self._machine = machine
        self.supply = Supply(machine, start_v)
        self.fc_fll = Fll(machine, L.DOMAIN_FC, self.supply)
        self.cluster_fll = Fll(machine, L.DOMAIN_CLUSTER, self.supply)
        self.uart = Uart(machine)
        self.gpio = Gpio(machine)
        self.hyperbus = HyperBus(machine)
        self._hwce = Hwce(machine)
        self._fc_icache = ICache(machine, L.DOMAIN_FC)
        self._cluster_icache = ICache(machine, L.DOMAIN_CLUSTER)
        self._fc_timer = TimerPair(machine, L.DOMAIN_FC)
        self._cluster_timer = TimerPair(machine, L.DOMAIN_CLUSTER)
        self.cluster = Cluster(machine, self._reset_cluster_peripherals)
        self._soc = SocControl(machine, self.cluster, self.gpio, self.supply)
        self._clocks = _UdmaClocks()
        self.printed = bytearray()
        self.windows = (
            Window(0x1A100000, 0x10, self.fc_fll, "FC FLL"),
            Window(0x1A100010, 0x10, self.cluster_fll, "cluster FLL"),
            Window(0x1A101000, 0x40, self.gpio, "GPIO"),
            Window(0x1A102180, 0x48, self.hyperbus, "HyperBus"),
            Window(0x1A102200, 0x28, self.uart, "uDMA UART"),
            Window(UDMA_CLOCK_GATES, 4, self._clocks, "uDMA clock gates"),
            Window(0x1A104000, 0x200, self._soc, "SoC control"),
            Window(0x1A106000, 0x40, machine.soc_events, "SoC event unit"),
            Window(0x1A107000, 0x1000, self.supply, "PMU"),
            Window(0x10200000, 0x80, self.cluster, "cluster control"),
            Window(0x10200400, 0x40, self._cluster_timer, "cluster timer"),
            Window(0x10201000, 0x300, self._hwce, "HWCE"),
            Window(0x10201400, 0x40, self._cluster_icache, "cluster instruction cache"),
            Window(0x1B200400, 0x40, self._fc_timer, "FC timer"),
            Window(FC_SOC_EVENT_FIFO, 4, _SocFifo(machine), "SoC event FIFO"),
            Window(0x1B201400, 0x40, self._fc_icache, "FC instruction cache"),
            *(
                Window(base, size, Absent(name), f"{name}, not modelled")
                for base, size, name in ABSENT
            ),
        )

    def _reset_cluster_peripherals(self) -> None:
        self._cluster_timer.reset()
        self._hwce.reset()
        self._cluster_icache.reset()
        state = self._machine.state
        fc = L.FC * L.EU_SPAN
        state.eu[:fc] = 0
        state.eu[L.BARRIER :] = 0
        state.eu[L.MUTEX_OWNER] = -1
        state.dma[: L.DMA_BYTES] = 0  # what was moved stays counted
        state.dma[L.DMA_SLOT + L.DMA_DUE : L.DMA_PORT : L.DMA_SLOT_SPAN] = L.NEVER
        state.chip[L.DMA_DUE_CYCLE] = L.NEVER

    def reset(self) -> None:
        """Power-on reset of all devices."""
        self._machine.soc_events.reset()
        self._machine.state.dma[L.DMA_BYTES] = 0
        for device in (self.supply, self.fc_fll, self.cluster_fll, self.uart, self.gpio,
                       self.hyperbus, self._fc_icache, self._fc_timer, self.cluster, self._soc,
                       self._clocks):  # fmt: skip
            device.reset()
        self.printed.clear()

    def _window(self, address: int) -> Window:
        for window in self.windows:
            if window.base <= address < window.base + window.size:
                self._check_clock(window)
                return window
        if STDOUT <= address < STDOUT_END:
            raise BusFault("the simulator's output register can only be written")
        raise BusFault("access to an unmapped address: no device is known there")

    def _check_clock(self, window: Window) -> None:
        """BusFault when the device's clock is off."""
        for device, channel in ((self.uart, UART_CHANNEL), (self.hyperbus, HYPER_CHANNEL)):
            if window.device is device and not (self._clocks.value >> channel) & 1:
                raise BusFault(f"{window.name} access while its uDMA clock (0x1A102780 bit "
                               f"{channel}) is off")  # fmt: skip
        if window.device is self._hwce and not self.cluster.hwce_clocked:
            raise BusFault("HWCE access while its clock (0x10200018 bits 10 and 11) is off")

    def read(self, address: int) -> int:
        """A load from a device."""
        window = self._window(address)
        return window.device.read(address - window.base) & 0xFFFFFFFF

    def write(self, address: int, value: int) -> None:
        """A store to a device."""
        if STDOUT <= address < STDOUT_END:
            self.printed.append(value & 0xFF)
            return
        window = self._window(address)
        window.device.write(address - window.base, value)

    def answer_fs(self, address: int) -> int | None:
        """When a device with its own pace answers (FLL: the next reference edge), else None."""
        if 0x1A100000 <= address < 0x1A100020:
            return self.fc_fll.next_edge_fs()
        return None
