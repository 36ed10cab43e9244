"""The STM32F746 and F767 on their boards: memory map, peripherals, console, marker, supply.

Implements :class:`hil.sim.chip.Chip`. Reference: RM0385 (peripherals; RM0410
says the same for the F767 in sections of its own), :mod:`.variant` (what differs).

What is exact: instruction semantics (unicorn), the memory map, baud and byte times, the order of
peripheral accesses, DWT's lock. What is a model: cycles (block costs, see
:mod:`hil.sim.cores.cortex_m7.schedule`), start-up times of oscillators, energy
(:mod:`.power`). What is absent is refused by name: DMA, flash programming, every peripheral not
listed in :mod:`.peripherals`. Interrupt lines: the three USARTs and SysTick.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from hil.core.elf import ElfImage, load_segments
from hil.core.errors import SimulationError
from hil.sim.chip import EnergyBins, Fault, MarkerEdge, Stop, TraceWindow
from hil.sim.cores.cortex_m7 import costs
from hil.sim.cores.cortex_m7.core import CoreStop, CortexM7
from hil.sim.cores.cortex_m7.data_cache import Caches
from hil.sim.cores.cortex_m7.glue import DWT_BYTES
from hil.sim.cores.cortex_m7.layout import Floats, Ints
from hil.sim.cores.cortex_m7.postmortem import scene
from hil.sim.fault_report import FaultScene
from hil.sim.profile import CoreClassCycles
from hil.sim.socs.stm32f7 import power
from hil.sim.socs.stm32f7.clocks import check_limits
from hil.sim.socs.stm32f7.debugger import Stm32Debugger
from hil.sim.socs.stm32f7.incidents import Incidents
from hil.sim.socs.stm32f7.memories import Memories
from hil.sim.socs.stm32f7.memory_map import (
    DWT_BASE,
    FLASH,
    FLASH_ALIAS,
    PERIPHERAL_BYTES,
    PERIPHERALS,
    PRIVATE,
    PRIVATE_BYTES,
    RAM,
    areas,
    unmodelled,
)
from hil.sim.socs.stm32f7.peripherals import CONSOLES, Peripherals
from hil.sim.socs.stm32f7.polling import PollWatch
from hil.sim.socs.stm32f7.timeline import Timeline
from hil.sim.socs.stm32f7.variant import F746, F767, Variant
from hil.sim.trace import TracedInstruction

DATA_CACHES = ("average", "lines")
LONGEST_STEP_S = 0.01  # a core that sleeps for longer is reported as sleeping
_ENDS = {CoreStop.FAULT: Stop.FAULT, CoreStop.EXIT: Stop.EXITED, CoreStop.BREAK: Stop.BREAK}


class Stm32F7:
    """The virtual Nucleo-144 with one of the family's chips.

    ``console`` names the USART whose pins are the wires. ``data_cache``: "average" stalls a load
    by a mean, "lines" follows every access through the cache (slower); the timing model says it.
    """

    variant: Variant
    supply_v = power.SUPPLY_V

    def __init__(
        self,
        console: str = "USART3",
        unique_id: bytes | None = None,
        data_cache: str = DATA_CACHES[0],
    ) -> None:
        variant = self.variant
        if data_cache not in DATA_CACHES:
            raise SimulationError(f"data cache {data_cache!r}: there are {', '.join(DATA_CACHES)}")
        if console not in CONSOLES:
            raise SimulationError(f"console {console!r}: this chip has {', '.join(CONSOLES)}")
        self._console_name = console
        self._caches = Caches(
            variant.core.cache_bytes, RAM + variant.dtcm_bytes, data_cache == "lines"
        )
        self.timing_model = f"{costs.TIMING_MODEL}, data cache by {data_cache}"
        self._memories = Memories(variant, variant.unique_id if unique_id is None else unique_id)
        self.image: ElfImage | None = None
        self._profiled = False
        self._window: TraceWindow | None = None
        self.debugger = Stm32Debugger(self, self._memories.flash, FLASH, FLASH_ALIAS, variant)
        self.reset()

    # Loading and reset

    def load_elf(self, path: Path) -> None:
        """Flash the program headers' bytes at their load addresses and power on."""
        image = load_segments(path, "EM_ARM")
        self._memories.store(path, image)
        self.image = image
        self.reset()

    def reset(self) -> None:
        """Power-on reset: RAM poisoned, time and energy start at zero."""
        self._memories.power_on()
        self._incidents = Incidents()
        self._resets = 0
        self._edges: list[MarkerEdge] = []
        self._level = False
        self._sent = bytearray()
        self._bins: list[np.ndarray] = []
        self._next_bin = 0
        self._end_s = 0.0
        self._waiting = self._asleep = self._reset_asked = False
        self._idles = False  # time passes though the firmware waits
        behind_dwt = DWT_BASE + DWT_BYTES
        device_areas = [
            (PERIPHERALS, PERIPHERAL_BYTES),
            (PRIVATE, DWT_BASE - PRIVATE),
            (behind_dwt, PRIVATE + PRIVATE_BYTES - behind_dwt),
        ]
        self._core = CortexM7(
            self._memories.regions(), device_areas, DWT_BASE, unmodelled, self._caches
        )
        self.debugger.attach(self._core)
        self._core.look_on(self._profiled, self._window)
        self._core.floats[Floats.LINE_MISS_J] = power.FLASH_LINE_J
        self._core.floats[Floats.SRAM_LINE_J] = power.SRAM_LINE_J
        self._core.floats[Floats.SRAM_ACCESS_J] = power.SRAM_ACCESS_J
        self._timeline = Timeline(lambda: self._core.now_cycles)
        self._connect_peripherals()
        self._set_clock(first=True)
        self._boot()

    def _software_reset(self) -> None:
        """SYSRESETREQ: peripherals start over, memory, time and energy go on."""
        self._reset_asked = False
        self._resets += 1
        self._sent += self._parts.console.drain()
        before = self._parts
        self._connect_peripherals()
        self._parts.rcc.take_reset_causes(before.rcc)
        self._parts.console.counts = before.console.counts
        self._core.set_caches(instruction=False, data=False)
        self._core.data_cache.set_write_through(False)
        self._core.art.forget()
        self._set_clock()
        self.marker_changed()
        self._boot()

    def _boot(self) -> None:
        self._parts.scs.set_vector_table(FLASH_ALIAS)  # BOOT_ADD0's factory value
        self._core.start(*self._memories.vectors())

    def _connect_peripherals(self) -> None:
        self._watch = PollWatch(self._core)
        self._parts = Peripherals(
            self.variant, self._console_name, self._core, self._timeline, self, self._incidents
        )

    # Faults and warnings

    @property
    def taken_fault(self) -> Fault | None:
        """The last fault since power-on that a handler of the firmware was entered for."""
        return self._incidents.taken_fault

    def fault_scenes(self, refused: str = "") -> tuple[FaultScene, ...]:
        """See :class:`hil.sim.fault_report.ExaminedChip`."""
        core = self._core
        end = Fault(refused, core.pc) if refused else self.fault
        taken = self._incidents.moment
        moments = [] if taken is None else [taken]
        if end is not None:
            moments.append(core.moment(end))
        names = areas(core.memories, self._parts.windows, self.variant.dtcm_bytes)
        return tuple(scene(moment, core.code, names) for moment in moments)

    @property
    def warnings(self) -> dict[str, int]:
        """Faults taken, and what a chip would silently ignore, with counts."""
        return self._incidents.warnings

    # Clocks and caches

    def clock_changed(self) -> None:
        """RCC, PWR or the flash interface (ChipEvents)."""
        check_limits(self._parts.rcc, self._parts.pwr, self._parts.flash)
        self._set_clock()

    def _set_clock(self, first: bool = False) -> None:
        """Take the clock tree as it is now: time base, energy bins, fetch costs, run limit."""
        core, timeline = self._core, self._timeline
        hclk = self._parts.rcc.hclk_hz()
        edge_s = power.BIN_S if first else timeline.seconds_at(core.floats[Floats.BIN_EDGE])
        core.book_base_energy()
        timeline.change_clock(hclk)
        core.floats[Floats.BIN_CYCLES] = power.BIN_S * hclk
        core.floats[Floats.BIN_EDGE] = timeline.exact_cycles_at(edge_s)
        self._set_base_power(power.RUN_BASE)
        flash = self._parts.flash
        core.set_fetch(flash.wait_states, flash.accelerator, flash.prefetch)
        self._parts.clock_has_changed()
        if not first:
            core.set_limit(self._limit())

    def _set_base_power(self, model: power.CurrentModel) -> None:
        self._core.book_base_energy()
        clock_hz = self._timeline.clock_hz
        self._core.floats[Floats.BASE_J] = model.power_w(clock_hz) / clock_hz

    def now_cycles(self) -> float:
        """Core cycles at the access being served (SystemEvents)."""
        return self._core.now_cycles

    def reset_requested(self) -> None:
        """AIRCR.SYSRESETREQ (SystemEvents)."""
        self._reset_asked = True
        self._core.request_stop()

    def caches_changed(self, instruction: bool, data: bool) -> None:
        """CCR (SystemEvents)."""
        self._core.set_caches(instruction, data)

    def write_through_changed(self, on: bool) -> None:
        """CACR (SystemEvents)."""
        self._core.data_cache.set_write_through(on)

    def data_cache_maintained(
        self, operand: int, by_way: bool, clean: bool, invalidate: bool
    ) -> None:
        """DCISW and its kin (SystemEvents)."""
        self._core.add_cycles(self._core.data_cache.maintain(operand, by_way, clean, invalidate))

    def trace_changed(self) -> None:
        """DEMCR (SystemEvents)."""
        self._parts.dwt.trace_changed()

    def instruction_cache_invalidated(self) -> None:
        """ICIALLU (SystemEvents)."""
        self._core.forget_icache()

    def fpu_changed(self) -> None:
        """CPACR (SystemEvents)."""
        self._core.forget_blocks()

    def running_exception(self) -> int:
        """IPSR (SystemEvents)."""
        return self._core.running_exception

    def interrupts_changed(self) -> None:
        """NVIC, SysTick, or a peripheral's interrupt enable (SystemEvents)."""
        self._core.set_limit(self._limit())
        self._core.request_check()

    def interrupt_lines(self) -> int:
        """USARTs that ask for their handler (SystemEvents)."""
        return self._parts.interrupt_lines()

    # Running

    def run(self, duration_s: float) -> Stop:
        """See :meth:`hil.sim.chip.Chip.run`."""
        core = self._core
        self._end_s = self._timeline.now_s + duration_s
        while True:
            if self._asleep:
                stop = self._sleep()
                if stop is not None:
                    return stop
            stop_of_core = core.run(self._limit())
            self._collect_energy()
            if stop_of_core in _ENDS:
                return _ENDS[stop_of_core]
            if self._reset_asked:
                self._software_reset()
            elif stop_of_core is CoreStop.SLEEP:
                self._asleep = True
            elif self._waiting:
                self._waiting = False
                return Stop.WAITING
            elif core.cycles >= self._timeline.cycles_at(self._end_s):
                return Stop.BUDGET

    def step(self) -> Stop | None:
        """One instruction, or the entry into an exception; None: done (for the debugger)."""
        self._end_s = self._timeline.now_s + LONGEST_STEP_S
        self._watch.forget()
        if self._asleep:
            return self._sleep()
        stop_of_core = self._core.step()
        self._collect_energy()
        self._waiting = False
        if self._reset_asked:
            self._software_reset()
        self._asleep = stop_of_core is CoreStop.SLEEP
        return None if stop_of_core is None else _ENDS.get(stop_of_core)

    def _limit(self) -> float:
        """Cycle at which the core has to come back: the run's end, full bins, an interrupt."""
        floats = self._core.floats
        bins = (self._core.ints[Ints.BIN_CAPACITY] - 2) * floats[Floats.BIN_CYCLES]
        end = self._timeline.cycles_at(self._end_s)
        trace = math.inf if self._core.trace is None else self._core.trace.start_cycle
        return min(end, floats[Floats.BIN_EDGE] + bins, self._next_interrupt(), trace)

    def _next_interrupt(self) -> float:
        """Cycle at which time alone raises the next interrupt; infinite if none is on its way."""
        tick = self._parts.scs.systick.next_expiry_cycles()
        at_s = self._parts.next_interrupt_s()
        return tick if at_s is None else min(tick, self._timeline.cycles_at(at_s))

    def console_polled(self, status: int) -> None:
        """The firmware has read the console's status register (ChipEvents)."""
        core = self._core
        if not self._watch.seen(status):
            return
        event_s = self._parts.console.next_event_s()
        endless = event_s is None and math.isinf(self._next_interrupt())
        received = status & 0x20
        if endless and not received and not self._idles:
            self._waiting = True
            core.request_stop()
            return
        until = self._limit()
        if event_s is not None:
            until = min(until, self._timeline.cycles_at(event_s))
        self._watch.skip(until)

    def _sleep(self) -> Stop | None:
        """Sleep until something wakes the core: None then, else why ``run`` returns."""
        core = self._core
        while not core.wakes:
            interrupt, end = self._next_interrupt(), self._timeline.cycles_at(self._end_s)
            if math.isinf(interrupt):
                return Stop.WAITING
            if interrupt > end:
                self._doze(end)
                return Stop.BUDGET
            self._doze(max(interrupt, core.cycles + 1))
        self._asleep = False
        return None

    def _doze(self, until: float) -> None:
        """Let time pass with the core clock gated, to cycle ``until``."""
        cycles = max(0.0, until - self._core.cycles)
        self._set_base_power(power.SLEEP)
        self._core.add_cycles(cycles)
        if self._core.block_profile is not None:
            self._core.block_profile.slept(cycles)
        self._collect_energy()
        self._set_base_power(power.RUN_BASE)
        self._parts.dwt.slept(cycles)

    def idle_until(self, time_s: float) -> None:
        """See :meth:`hil.sim.chip.Chip.idle_until`. Ends early at a byte on the RX wire."""
        arrival_s = self._parts.console.next_arrival_s()
        until_s = time_s if arrival_s is None else min(time_s, arrival_s)
        stop = None
        if not self._asleep:
            self._idles = True
            try:
                stop = self.run(max(0.0, until_s - self.time_s))
            finally:
                self._idles = False
        if self._asleep:
            self._doze(self._timeline.cycles_at(until_s))
        elif stop is Stop.BREAK:  # met again when the chip runs
            self.pass_time(until_s)

    def pass_time(self, time_s: float) -> None:
        """See :meth:`hil.sim.chip.Chip.pass_time`; it draws run current."""
        self._core.add_cycles(max(0.0, self._timeline.cycles_at(time_s) - self._core.cycles))
        self._collect_energy()

    # Wires

    @property
    def name(self) -> str:
        """The board's name."""
        return self.variant.name

    @property
    def time_s(self) -> float:
        """Chip time since power-on in seconds."""
        return self._timeline.now_s

    @property
    def clock_hz(self) -> float:
        """The core clock now in force."""
        return self._timeline.clock_hz

    @property
    def listening(self) -> bool:
        """See :class:`hil.sim.chip.Chip`: the receiver is on; its interrupt too, asleep."""
        console = self._parts.console
        return console.listening and (console.receive_interrupt_enabled or not self._asleep)

    @property
    def fault(self) -> Fault | None:
        """The fault behind ``Stop.FAULT``."""
        return self._core.fault

    @property
    def exit_code(self) -> int | None:
        """The code behind ``Stop.EXITED``."""
        return self._core.exit_code

    def uart_feed(self, data: bytes) -> None:
        """Put bytes on the console's RX wire. Lost if the receiver is not armed."""
        self._parts.console.feed(data)

    def uart_drain(self) -> bytes:
        """Bytes that have left the console's TX pin since the last call."""
        self._sent += self._parts.console.drain()
        sent = bytes(self._sent)
        self._sent.clear()
        return sent

    def marker_changed(self) -> None:
        """The marker's port (ChipEvents)."""
        level = self._parts.marker
        if level != self._level:
            self._level = level
            self._edges.append(MarkerEdge(self._timeline.now_s, level))

    def marker_drain(self) -> list[MarkerEdge]:
        """Edges of PF12 since the last call, in order."""
        edges, self._edges = self._edges, []
        return edges

    def _collect_energy(self) -> None:
        self._bins.extend(self._core.drain_bins())

    def energy_drain(self) -> EnergyBins:
        """Complete 10 us energy bins since the last call. Modelled."""
        self._collect_energy()
        energy = np.concatenate(self._bins) if self._bins else np.zeros(0)
        first = self._next_bin
        self._bins.clear()
        self._next_bin += len(energy)
        return EnergyBins(first, power.BIN_S, energy)

    def counters(self) -> dict[str, int]:
        """Cycles, instructions, cache and branch events, console bytes, warnings."""
        ints = self._core.ints
        return {
            "cycles": int(self._core.cycles),
            "instructions": int(ints[Ints.INSTRUCTIONS]),
            "blocks": int(ints[Ints.BLOCKS]),
            "branches": int(ints[Ints.BRANCHES]),
            "mispredicted_branches": int(ints[Ints.MISPREDICTS]),
            "icache_misses": int(ints[Ints.ICACHE_MISSES]),
            "art_misses": int(ints[Ints.ART_MISSES]),
            **self._data_cache_counters(),
            "peripheral_accesses": self._core.accesses,
            "uart_bytes_in": self._parts.console.counts.bytes_in,
            "uart_bytes_out": self._parts.console.counts.bytes_out,
            "uart_overruns": self._parts.console.counts.overruns,
            "uart_lost_unready": self._parts.console.counts.lost_unready,
            "unclocked_accesses": self._incidents.unclocked,
            "warnings": sum(self.warnings.values()),
            "resets": self._resets,
            "faults_taken": self._incidents.faults_taken,
        }

    def _data_cache_counters(self) -> dict[str, int]:
        if not self._caches.simulate_data:
            return {}
        ints = self._core.ints
        return {
            "dcache_misses": int(ints[Ints.DCACHE_MISSES]),
            "dcache_write_backs": int(ints[Ints.DCACHE_WRITE_BACKS]),
        }

    # Looking on

    def start_profile(self) -> None:
        """Reset, and count cycles by instruction from there on."""
        self._profiled = True
        self.reset()

    def start_trace(self, window: TraceWindow) -> None:
        """Reset, and keep the instructions of ``window`` from there on."""
        self._window = window
        self.reset()

    def profile(self) -> tuple[CoreClassCycles, ...]:
        """Cycles by instruction since reset. SimulationError if not counted."""
        if self._core.block_profile is None:
            raise SimulationError(f"{self.name}: cycles were not counted; call start_profile")
        return (self._core.block_profile.cycles(),)

    def trace(self) -> list[TracedInstruction]:
        """The instructions of the window. SimulationError if none was set."""
        if self._core.trace is None:
            raise SimulationError(f"{self.name}: no trace was kept; call start_trace")
        return self._core.trace.rows

    def positions(self) -> list[str]:
        """Where the core is, for people."""
        state = "asleep" if self._asleep else self.debugger.core_state(0)
        return [f"Cortex-M7 {state} at 0x{self._core.pc:08x}"]


class Stm32F746(Stm32F7):
    """The virtual Nucleo-F746ZG."""

    variant = F746


class Stm32F767(Stm32F7):
    """The virtual Nucleo-F767ZI. Its double-precision FPU is not modelled: built for single."""

    variant = F767
