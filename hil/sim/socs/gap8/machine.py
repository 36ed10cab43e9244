"""What the Python devices share: the state, the clock, pending events, faults."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import numpy as np

from hil.sim.socs.gap8 import access, engine
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.layout import State

SOC_FIFO_DEPTH = 8
# Masks of the SoC event unit, events 63 to 32 first: for the FC; for cluster and peripherals
FC_MASKS, OTHER_MASKS = (0x04, 0x08), (0x0C, 0x10, 0x14, 0x18)
ALL_BLOCKED = 0xFFFFFFFF
# The period of a gated clock: no edge for a long time, and 32 of them are no overflow
STOPPED_FS = 1 << 57

# The engine's address map as a plain Python function.
_memory_word = access.memory_word.py_func

# What a device does at its time. True: it was quiet, and only registers of the device have changed.
Action = Callable[[], bool | None]


class BusFault(Exception):
    """A device refuses an access; becomes the chip's fault."""


class Machine:
    """Time, scheduled device events and the way from a device to the cores' event units."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.exit_code: int | None = None
        self.profile: np.ndarray | None = None  # counts of profiling.py in a profiled run
        self._pending: list[tuple[int, int, Action]] = []
        self._order = itertools.count()
        self._periods_fs = [int(fs) for fs in state.chip[L.PERIOD_FS : L.PERIOD_FS + 2]]
        self._gated: np.ndarray | None = None  # when the cluster's cores could issue
        self._clock_changes: tuple[list[Callable[[], None]], ...] = ([], [])
        self.soc_events = SocEvents(self)

    def reset(self) -> None:
        """Forgets all scheduled actions; the clocks run, the program has not ended."""
        self._pending.clear()
        self._publish()
        self._gated = None
        self.exit_code = None

    @property
    def now_fs(self) -> int:
        """Time since reset in femtoseconds."""
        return int(self.state.chip[L.NOW_FS])

    def period_fs(self, domain: int) -> int:
        """Clock period of a domain."""
        return int(self.state.chip[L.PERIOD_FS + domain])

    def cycle(self, domain: int) -> int:
        """Clock edges of a domain so far."""
        chip = self.state.chip
        elapsed = self.now_fs - int(chip[L.ORIGIN_FS + domain])
        # right after a change the origin lies ahead, the last edge with the old period before it
        return int(chip[L.ORIGIN_CYCLE + domain]) + max(elapsed // self.period_fs(domain), -1)

    def cycle_at(self, domain: int, time_fs: int) -> int:
        """The first clock edge of a domain at or after a time."""
        chip, period = self.state.chip, self.period_fs(domain)
        elapsed = max(time_fs - int(chip[L.ORIGIN_FS + domain]), 0)
        return int(chip[L.ORIGIN_CYCLE + domain]) + -(-elapsed // period)

    def time_fs(self, domain: int, cycle: int) -> int:
        """When a clock edge of a domain is due."""
        chip = self.state.chip
        elapsed = cycle - int(chip[L.ORIGIN_CYCLE + domain])
        return int(chip[L.ORIGIN_FS + domain]) + elapsed * self.period_fs(domain)

    def set_period(self, domain: int, period_fs: int) -> None:
        """Changes a domain's clock from its next edge on; a gated one when it goes on."""
        self._periods_fs[domain] = period_fs
        if domain != L.DOMAIN_CLUSTER or self._gated is None:
            self._change_period(domain, period_fs)

    def on_clock_change(self, domain: int, action: Callable[[], None]) -> None:
        """Runs ``action`` whenever a domain's clock changes, stops or goes on."""
        self._clock_changes[domain].append(action)

    def gate_cluster(self, gated: bool) -> None:
        """Stops the cluster's clock at its next edge, or lets it go on with that edge now."""
        if gated and self._gated is None:
            self._stop_cluster()
        elif not gated and self._gated is not None:
            self._start_cluster(self._gated)

    def _stop_cluster(self) -> None:
        chip, ready = self.state.chip, self._cluster_ready()
        self._gated = ready.copy()
        ready[:] = chip[L.DMA_DUE_CYCLE] = L.NEVER
        self._change_period(L.DOMAIN_CLUSTER, STOPPED_FS)

    def _start_cluster(self, ready_before: np.ndarray) -> None:
        s, domain, ready = self.state, L.DOMAIN_CLUSTER, self._cluster_ready()
        self._gated = None
        s.chip[L.ORIGIN_FS + domain] = max(self.now_fs, int(s.chip[L.ORIGIN_FS + domain]))
        s.chip[L.PERIOD_FS + domain] = self._periods_fs[domain]
        for c in range(L.PE_COUNT):
            # not those that a reset holds, or that an event has woken meanwhile
            if s.core[c * L.CORE_SPAN + L.MODE] == L.RUNNING and ready[c] == L.NEVER:
                ready[c] = ready_before[c]
        due = L.DMA_SLOT + L.DMA_DUE
        s.chip[L.DMA_DUE_CYCLE] = s.dma[due : L.DMA_PORT : L.DMA_SLOT_SPAN].min()
        self._tell(domain)

    def _cluster_ready(self) -> np.ndarray:
        return self.state.core[L.READY : L.READY + L.PE_COUNT]

    def _tell(self, domain: int) -> None:
        for action in self._clock_changes[domain]:
            action()

    def _change_period(self, domain: int, period_fs: int) -> None:
        chip = self.state.chip
        edge = self.cycle_at(domain, self.now_fs)
        elapsed = edge - int(chip[L.ORIGIN_CYCLE + domain])
        chip[L.ORIGIN_FS + domain] += elapsed * self.period_fs(domain)
        chip[L.ORIGIN_CYCLE + domain] = edge
        chip[L.PERIOD_FS + domain] = period_fs
        self._tell(domain)

    def at(self, time_fs: int, action: Action) -> None:
        """Runs ``action`` when chip time reaches ``time_fs``."""
        heapq.heappush(self._pending, (max(time_fs, self.now_fs), next(self._order), action))
        self._publish()

    def next_due_fs(self) -> int | None:
        """When the next scheduled action is due."""
        return self._pending[0][0] if self._pending else None

    def run_due(self) -> bool:
        """Runs every action that is due; whether all of them were quiet."""
        quiet = True
        while self._pending and self._pending[0][0] <= self.now_fs:
            _, _, action = heapq.heappop(self._pending)
            quiet = bool(action()) and quiet
        self._publish()
        return quiet

    def _publish(self) -> None:
        self.state.chip[L.DEVICE_DUE_FS] = self._pending[0][0] if self._pending else L.NEVER

    def begin_work(self, work: int, units: int, until_fs: int) -> None:
        """A device works on ``units`` from now until then, for the energy (layout: WORK_*)."""
        chip = self.state.chip
        chip[work + L.WORK_UNITS] = units
        chip[work + L.WORK_FROM_FS], chip[work + L.WORK_UNTIL_FS] = self.now_fs, until_fs

    def end_work(self, work: int) -> None:
        """The work is done, or given up: then as much is as its share of the time."""
        chip = self.state.chip
        units, start = int(chip[work + L.WORK_UNITS]), int(chip[work + L.WORK_FROM_FS])
        if units:
            span = int(chip[work + L.WORK_UNTIL_FS]) - start
            chip[work + L.WORK_DONE] += units * min(self.now_fs - start, span) // span
        chip[work + L.WORK_UNITS] = 0

    def check_memory(self, address: int, count: int) -> None:
        """BusFault unless ``count`` bytes from ``address`` on are memory."""
        if _memory_word(L.FC, address, max(count, 1)) < 0:
            raise BusFault(f"{count} bytes at 0x{address:08x} are not memory")

    def read_memory(self, address: int, count: int) -> bytes:
        """Bytes as a device sees them; BusFault outside memory."""
        self.check_memory(address, count)
        at = 4 * _memory_word(L.FC, address, 1) + (address & 3)
        return self.state.mem.view(np.uint8)[at : at + count].tobytes()

    def write_memory(self, address: int, data: bytes) -> None:
        """Stores bytes as a device does; BusFault outside memory."""
        self.check_memory(address, len(data))
        at = 4 * _memory_word(L.FC, address, 1) + (address & 3)
        self.state.mem.view(np.uint8)[at : at + len(data)] = np.frombuffer(data, dtype=np.uint8)
        if address >= L.L2_BASE:
            half = (address - L.L2_BASE) >> 1
            self.state.code[max(half - 1, 0) : half + len(data) // 2 + 1] = 0  # as forget_code

    def raise_core_event(self, core: int, event: int) -> None:
        """Buffers an event in a core's event unit."""
        s = self.state
        domain = L.DOMAIN_FC if core == L.FC else L.DOMAIN_CLUSTER
        s.chip[L.NOW_DOMAIN] = domain
        s.chip[L.NOW_CYCLE] = self.cycle_at(domain, self.now_fs)
        engine.raise_core_events(s.regs, s.core, s.eu, s.chip, core, 1 << event)


class SocEvents:
    """The SoC event unit (0x1A106000) and the FC's event FIFO (0x1B200F00).

    A set mask bit blocks an event; all are blocked after reset (measured).
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.reset()

    def reset(self) -> None:
        """All events blocked, FIFO empty."""
        self._masks = dict.fromkeys((*FC_MASKS, *OTHER_MASKS), ALL_BLOCKED)
        self._fifo: list[int] = []
        self.lost = 0

    def raise_event(self, number: int) -> None:
        """A SoC event: queued for the FC unless masked; lost when the FIFO is full."""
        high = number >= 32
        if (self._masks[FC_MASKS[0 if high else 1]] >> (number & 31)) & 1:
            return
        if len(self._fifo) == SOC_FIFO_DEPTH:
            self.lost += 1
            return
        self._fifo.append(number)
        self._machine.raise_core_event(L.FC, L.EVENT_SOC)

    def pop(self) -> int:
        """The FIFO register: bit 31 valid, number below; 0 when empty."""
        if not self._fifo:
            return 0
        number = self._fifo.pop(0)
        if self._fifo:
            self._machine.raise_core_event(L.FC, L.EVENT_SOC)
        return 0x80000000 | number

    def read(self, offset: int) -> int:
        """Mask registers."""
        if offset not in self._masks:
            raise BusFault(f"SoC event unit register +0x{offset:x} is not readable")
        return self._masks[offset]

    def write(self, offset: int, value: int) -> None:
        """Masks, and EVENT: bit i raises event 48 + i."""
        if offset == 0:
            for bit in range(8):
                if (value >> bit) & 1:
                    self.raise_event(48 + bit)
        elif offset in OTHER_MASKS and value != ALL_BLOCKED:
            raise BusFault(f"SoC events for the cluster or the peripherals (mask +0x{offset:x} = "
                           f"0x{value:08x}) are not modelled, only those for the FC")  # fmt: skip
        elif offset in self._masks:
            self._masks[offset] = value
        else:
            raise BusFault(f"SoC event unit has no register +0x{offset:x}")
