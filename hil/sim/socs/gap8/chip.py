"""The virtual GAP8: ``hil.sim.chip.Chip`` on the numba engine.

Memory map, boot state and peripherals as in the GAP SDK's headers (archi/chips/gap) and as
measured on the vendor simulator; see layout, timing and the devices for each fact.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from hil.core.elf import ElfImage, load_segments
from hil.core.errors import SimulationError
from hil.sim.chip import EnergyBins, Fault, MarkerEdge, Stop, TraceWindow
from hil.sim.cores.xpulp.decode import LONG_BIT, decode
from hil.sim.cores.xpulp.ops import ILLEGAL
from hil.sim.fault_report import FaultScene
from hil.sim.profile import CoreClassCycles
from hil.sim.socs.gap8 import access, energy, engine, postmortem, profiling, tracing
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.debugger import Gap8Debugger
from hil.sim.socs.gap8.devices.bus import Bus
from hil.sim.socs.gap8.devices.gpio import PINS
from hil.sim.socs.gap8.loop_check import LoopCheck
from hil.sim.socs.gap8.machine import BusFault, Machine
from hil.sim.socs.gap8.polling import PollWatch
from hil.sim.trace import TracedInstruction

# The engine's address map as a plain Python function.
_memory_word = access.memory_word.py_func

BIN_ROOM = 4096
POISON_REGISTER = 0xBAADF00D
FC_HART = 32 << 5
DECODE_AHEAD = 32  # instructions decoded at a time

TIMING_MODEL = (
    "RI5CY cores in lockstep with L1 banks, instruction caches and MCHAN of two streams; "
    "every rule measured on the vendor simulator or named in timing.py and mchan.py"
)


class Gap8:
    """A GAP8 with its console UART, marker pin (GPIO17) and supply."""

    name = "gap8"
    supply_v = energy.SUPPLY_V

    def __init__(self, core_v: float = energy.SUPPLY_V) -> None:
        """``core_v``: the core voltage at the start, 1.0 to 1.2 V, else SimulationError.

        It sets the energies (energy.py) and how fast the clocks may be; firmware can change it.
        """
        self.timing_model = f"{TIMING_MODEL}; core at {core_v:g} V from the start"
        self._state = L.new_state(BIN_ROOM)
        self._state.chip[L.PERIOD_FS : L.PERIOD_FS + 2] = 20 * 10**6
        self._machine = Machine(self._state)
        self._bus = Bus(self._machine, core_v)
        self._loops = LoopCheck(self._state)
        self._watch = PollWatch(self._machine)
        self.debugger = Gap8Debugger(
            self._state, self._machine, self._bus, self._run_until, self.poke_bytes
        )
        self._image: ElfImage | None = None
        self._window: TraceWindow | None = None
        self.reset()
        # Compile (or load from numba's cache) now: half a minute must not pass inside a deadline.
        engine.run(*self._state.arrays(), None)
        s = self._state
        engine.raise_core_events(s.regs, s.core, s.eu, s.chip, 0, 0)
        self.reset()

    # --- loading and reset -----------------------------------------------------------------------

    def load_elf(self, path: Path) -> None:
        """Load the program headers and reset. SimulationError names a segment out of memory."""
        image = load_segments(path, machine="EM_RISCV")
        for segment in image.segments:
            size = max(segment.memory_size, 1)
            if segment.data and _memory_word(L.FC, segment.address, size) < 0:
                raise SimulationError(
                    f"{path}: segment at 0x{segment.address:08x} ({size} bytes) lies outside L2 "
                    f"(0x{L.L2_BASE:08x}, {L.L2_BYTES} bytes), L1 and FC memory; "
                    "check the linker script"
                )
        self._image = image
        self.reset()

    def load_words(self, address: int, words: list[int] | np.ndarray) -> None:
        """Puts words into memory and starts there after the next reset-free run (for tests)."""
        word = _memory_word(L.FC, address, 4 * len(words))
        if word < 0:
            raise SimulationError(f"{4 * len(words)} bytes at 0x{address:08x} are not memory")
        self._state.mem[word : word + len(words)] = np.asarray(words, dtype=np.uint32)
        self._state.code[:] = 0
        self._state.core[L.FC * L.CORE_SPAN + L.PC] = address

    def poke_bytes(self, address: int, data: bytes) -> None:
        """Stores bytes as a debugger does."""
        word = _memory_word(L.FC, address, len(data))
        if word < 0:
            raise SimulationError(f"{len(data)} bytes at 0x{address:08x} are not memory")
        at = 4 * word + (address & 3)
        self._state.mem.view(np.uint8)[at : at + len(data)] = np.frombuffer(data, dtype=np.uint8)
        self._state.code[:] = 0
        self._watch.forget()

    def program_flash(self, address: int, data: bytes) -> None:
        """Puts bytes into the HyperFlash (64 MB, 0 is its first byte); SimulationError outside."""
        try:
            self._bus.hyperbus.flash.write(address, data)
        except BusFault as refusal:
            raise SimulationError(f"gap8: {refusal}") from refusal

    def peek_words(self, address: int, count: int) -> np.ndarray:
        """Words of memory as a debugger reads them (for tests and reports)."""
        word = _memory_word(L.FC, address, 4 * count)
        if word < 0:
            raise SimulationError(f"{4 * count} bytes at 0x{address:08x} are not memory")
        return self._state.mem[word : word + count].copy()

    def reset(self) -> None:
        """Power-on reset; memory keeps what was loaded, RAM is filled with a poison pattern."""
        s = self._state
        s.mem[:] = L.POISON
        s.code[:] = 0
        s.regs[:] = POISON_REGISTER
        s.regs[::32] = 0
        s.core[:] = 0
        s.eu[:] = 0
        s.banks[:] = 0
        s.energy[:] = 0
        s.chip[:] = 0
        s.chip[L.PERIOD_FS : L.PERIOD_FS + 2] = 20 * 10**6
        s.chip[L.BIN_FS] = s.chip[L.BIN_DUE_FS] = round(energy.BIN_S * L.FS_PER_S)
        s.chip[L.BIN_ROOM] = BIN_ROOM
        self._machine.reset()
        self._bus.reset()
        self._loops.reset()
        self._fault: Fault | None = None
        self._bins: deque[float] = deque()
        self._bins_drained = 0
        if self._machine.profile is not None:
            self._machine.profile[:] = 0
            tracing.start(self._machine.profile, self._window)
        self._watch.forget()
        self._copy_image()
        self._start_fc()

    def _copy_image(self) -> None:
        if self._image is None:
            return
        as_bytes = self._state.mem.view(np.uint8)
        for segment in self._image.segments:
            if not segment.data:
                continue
            word = _memory_word(L.FC, segment.address, 1)
            at = 4 * word + (segment.address & 3)
            as_bytes[at : at + len(segment.data)] = np.frombuffer(segment.data, dtype=np.uint8)

    def _start_fc(self) -> None:
        base = L.FC * L.CORE_SPAN
        core = self._state.core
        core[base + L.PC] = self._image.entry if self._image else L.L2_BASE
        core[base + L.MODE] = L.RUNNING
        core[base + L.LINE] = -1
        core[base + L.HAZARD] = L.NO_HAZARD
        core[base + L.PCMR] = 1  # counters run after reset

    # --- running ---------------------------------------------------------------------------------

    def run(self, duration_s: float) -> Stop:
        """Run for at most ``duration_s`` of chip time and say why it stopped."""
        return self._run_until(self._machine.now_fs + round(duration_s * L.FS_PER_S))

    def idle_until(self, time_s: float) -> None:
        """Let a WAITING chip wait until ``time_s`` (since reset), drawing its idle power."""
        until = round(time_s * L.FS_PER_S)
        if until <= self._machine.now_fs:
            return
        self._machine.at(until, lambda: True)  # something to wait for
        while self._machine.now_fs < until:
            stop = self._run_until(until)
            if stop in (Stop.EXITED, Stop.FAULT):
                return
            if stop is Stop.BREAK:
                self._delay(L.FC, until)  # met when the chip runs

    def pass_time(self, time_s: float) -> None:
        """See :meth:`hil.sim.chip.Chip.pass_time`."""
        self._delay(L.FC, round(time_s * L.FS_PER_S))
        self.idle_until(time_s)

    def _run_until(self, limit_fs: int) -> Stop:
        if self._fault is not None:
            return Stop.FAULT
        if self._machine.exit_code is not None:
            return Stop.EXITED
        chip = self._state.chip
        chip[L.LIMIT_FS] = limit_fs
        while True:
            if self._watch.polling:
                due = self._machine.next_due_fs()
                if due is None:
                    return Stop.WAITING
                self._watch.skip(min(due, limit_fs))
            reason = engine.run(*self._state.arrays(), self._machine.profile)
            if reason == L.RUN_LIMIT:
                return Stop.BUDGET
            if reason == L.RUN_STALLED:
                return Stop.WAITING
            if reason == L.RUN_BINS_FULL:
                self._take_bins()
            elif reason == L.RUN_DECODE:
                self._decode_from(int(chip[L.DECODE_HALF]))
            elif reason == L.RUN_LOOP:
                self._fault = self._loops.check()
                if self._fault is not None:
                    return Stop.FAULT
            elif reason == L.RUN_DEVICE:
                if not self._machine.run_due():
                    self._watch.forget()
            elif reason == L.RUN_ACCESS:
                stop = self._serve_access()
                if stop is not None:
                    return stop
            elif self.debugger.caught():
                return Stop.BREAK
            else:
                self._take_fault()
                return Stop.FAULT

    def _decode_from(self, half: int) -> None:
        """Decodes instructions in sequence from a halfword of L2 on."""
        halves, code = self._state.mem.view(np.uint16), self._state.code
        for _ in range(DECODE_AHEAD):
            if half >= len(code) or code[half]:
                return
            word = int(halves[half])
            if half + 1 < len(code):
                word |= int(halves[half + 1]) << 16
            record = decode(word)
            code[half] = self.debugger.record(half, record)
            if record & 511 == ILLEGAL:
                return
            half += 1 + ((record >> LONG_BIT) & 1)

    def _take_fault(self) -> None:
        chip = self._state.chip
        reason = L.FAULT_TEXT[int(chip[L.FAULT_REASON])]
        self._fault = Fault(
            reason, int(chip[L.FAULT_PC]), int(chip[L.FAULT_CORE]), int(chip[L.FAULT_ADDRESS])
        )

    def _serve_access(self) -> Stop | None:
        """One load or store of a device register."""
        chip = self._state.chip
        address, c = int(chip[L.ACCESS_ADDRESS]), int(chip[L.ACCESS_CORE])
        answer_fs = self._bus.answer_fs(address)
        try:
            if chip[L.ACCESS_STORE]:
                self._watch.forget()
                self._bus.write(address, int(chip[L.ACCESS_VALUE]))
            else:
                value = self._bus.read(address)
                self._state.regs[c * 32 + int(chip[L.ACCESS_RD])] = value
                self._state.regs[c * 32] = 0
                if c == L.FC and self._cluster_idle():
                    self._watch.loaded(address, value)
        except BusFault as refusal:
            self._fault = Fault(str(refusal), int(chip[L.ACCESS_PC]), c, address)
            return Stop.FAULT
        if answer_fs is not None:
            self._delay(c, answer_fs)
        return Stop.EXITED if self._machine.exit_code is not None else None

    def _delay(self, c: int, until_fs: int) -> None:
        """Core ``c`` issues nothing before ``until_fs``."""
        domain = L.DOMAIN_FC if c == L.FC else L.DOMAIN_CLUSTER
        at = L.READY + c
        ready = self._machine.cycle_at(domain, until_fs)
        self._state.core[at] = max(int(self._state.core[at]), ready)

    def _cluster_idle(self) -> bool:
        s = self._state
        ready = s.core[L.READY : L.READY + L.PE_COUNT]
        return bool((ready == L.NEVER).all()) and s.chip[L.DMA_DUE_CYCLE] == L.NEVER

    # --- what the wires see ----------------------------------------------------------------------

    @property
    def time_s(self) -> float:
        """Chip time since reset in seconds."""
        return self._machine.now_fs / L.FS_PER_S

    @property
    def clock_hz(self) -> float:
        """The FC's clock now, in Hz."""
        return L.FS_PER_S / self._machine.period_fs(L.DOMAIN_FC)

    @property
    def core_v(self) -> float:
        """The core voltage now."""
        return self._bus.supply.volts

    @property
    def listening(self) -> bool:
        """See :class:`hil.sim.chip.Chip`: a receive is queued and the receiver is on."""
        return self._bus.uart.listening

    @property
    def fault(self) -> Fault | None:
        """The fault behind ``Stop.FAULT``."""
        return self._fault

    def fault_scenes(self, refused: str = "") -> tuple[FaultScene, ...]:
        """See :class:`hil.sim.fault_report.ExaminedChip`; no handler is ever entered here."""
        core = 0 if self._fault is None else self.debugger.number(self._fault.core)
        pc = self.debugger.read_register(core, self.debugger.pc_number)
        end = Fault(refused, pc, L.FC) if refused else self._fault
        if end is None:
            return ()
        return (postmortem.scene(end, core, self.debugger, self._bus.windows),)

    @property
    def exit_code(self) -> int | None:
        """The code behind ``Stop.EXITED``."""
        return self._machine.exit_code

    @property
    def printed(self) -> bytes:
        """Characters stored to the simulator-only output register 0x1A110000."""
        return bytes(self._bus.printed)

    def uart_feed(self, data: bytes) -> None:
        """Put bytes on the RX wire: they arrive back to back at the configured baud from now."""
        self._watch.forget()
        self._bus.uart.feed(data)

    def drive_gpio(self, pin: int, level: bool | None) -> None:
        """Drives GPIO ``pin`` (0-31) from outside from now on, or releases it (None).

        A reset of the chip changes nothing outside. SimulationError: no such pin.
        """
        if not 0 <= pin < PINS:
            raise SimulationError(f"gap8: no GPIO {pin}; there are 0 to {PINS - 1}")
        self._watch.forget()
        self._bus.gpio.drive(pin, level)
        self._machine.at(self._machine.now_fs, lambda: None)  # a polling FC looks again

    def uart_drain(self) -> bytes:
        """Bytes that have left the TX pin since the last call."""
        return self._bus.uart.drain()

    def marker_drain(self) -> list[MarkerEdge]:
        """Edges of the marker pin since the last call, in order."""
        return self._bus.gpio.drain()

    def _take_bins(self) -> None:
        chip, table = self._state.chip, self._state.energy
        count = int(chip[L.BIN_COUNT])
        self._bins.extend(table[L.ENERGY_BINS : L.ENERGY_BINS + count].tolist())
        chip[L.BIN_COUNT] = 0

    def energy_drain(self) -> EnergyBins:
        """All complete energy bins since the last call, in order and without gaps."""
        self._take_bins()
        first, joules = self._bins_drained, np.array(self._bins, dtype=np.float64)
        self._bins_drained += len(self._bins)
        self._bins.clear()
        return EnergyBins(first, energy.BIN_S, joules)

    def counters(self) -> dict[str, int]:
        """Clocks and, for each core, what it has counted since reset; see pcer_v1.h."""
        core = self._state.core
        counts = {
            "fc_clock_cycles": self._machine.cycle(L.DOMAIN_FC),
            "cluster_clock_cycles": self._machine.cycle(L.DOMAIN_CLUSTER),
            "hyperbus_bytes": self._bus.hyperbus.bytes_moved,
            "hyperbus_bursts_over_512_bytes": self._bus.hyperbus.long_bursts,
            "hardware_loops_beyond_manual": len(self._loops.beyond_manual),
            "hardware_loops_with_close_ends": int(self._state.chip[L.CLOSE_ENDS]),
            "dma_bytes": int(self._state.dma[L.DMA_BYTES]),
            "uart_bytes_lost": self._bus.uart.lost,
        }
        for c in range(L.CORES):
            name = "fc" if c == L.FC else f"pe{c}"
            base = c * L.CORE_SPAN
            counts[f"{name}_active_cycles"] = self._active_cycles(c)
            for label, field in _COUNTED:
                counts[f"{name}_{label}"] = int(core[base + field])
        return counts

    def start_profile(self) -> None:
        """Reset, and count cycles by address from there on (``profile``); about twice as slow."""
        self._machine.profile = profiling.new_profile(tracing.room(self._window))
        self.reset()
        engine.run(*self._state.arrays(), self._machine.profile)  # compile now, as in __init__
        self.reset()

    def start_trace(self, window: TraceWindow) -> None:
        """Reset, and keep instructions from there on (``trace``); as slow as a profile."""
        self._window = window
        self.start_profile()

    def profile(self) -> tuple[CoreClassCycles, ...]:
        """Cycles by address since reset: FC, then cluster. SimulationError if not counted."""
        if self._machine.profile is None:
            raise SimulationError("gap8: cycles by address were not counted; call start_profile")
        clocks = (self._machine.cycle(L.DOMAIN_FC), self._machine.cycle(L.DOMAIN_CLUSTER))
        counts = self._machine.profile[: profiling.COUNT_WORDS]
        return profiling.core_classes(counts, self._state, clocks)

    def trace(self) -> list[TracedInstruction]:
        """The instructions of the window. SimulationError if none was set."""
        if self._machine.profile is None or self._window is None:
            raise SimulationError("gap8: no trace was kept; call start_trace")
        s = self._state
        return tracing.rows(self._machine.profile, s.regs, s.core, self._window.count)

    def positions(self) -> list[str]:
        """Where each core is now, for people: name, what it does, its program counter."""
        debugger = self.debugger
        states = [(name, debugger.core_state(i)) for i, name in enumerate(debugger.core_names)]
        return [
            f"{name} {state} at 0x{debugger.read_register(i, debugger.pc_number):08x}"
            for i, (name, state) in enumerate(states)
            if state != "held"
        ]

    def _active_cycles(self, c: int) -> int:
        core, base = self._state.core, c * L.CORE_SPAN
        cycles = int(core[base + L.N_CYCLES])
        if core[base + L.MODE] == L.RUNNING:
            domain = L.DOMAIN_FC if c == L.FC else L.DOMAIN_CLUSTER
            cycles += self._machine.cycle(domain) - int(core[base + L.AWAKE_SINCE])
        return cycles


_COUNTED = (
    ("instructions", L.N_INSTRUCTIONS),
    ("load_stalls", L.N_LOAD_STALL),
    ("icache_misses", L.N_IMISS),
    ("loads", L.N_LOAD),
    ("stores", L.N_STORE),
    ("l2_accesses_load", L.N_LOAD_EXT),
    ("l2_accesses_store", L.N_STORE_EXT),
    ("tcdm_conflicts", L.N_CONFLICT),
    ("packed_instructions", L.N_PACKED),
    ("multiplications", L.N_MULTIPLY),
)
