"""A chip on its supply: power switch, resets, and one time line that never turns back.

A chip counts its time from its last power-on; a meter goes on sampling over resets and while
the supply is off. This is the piece in between. *Bench time* starts with the twin and only
advances while somebody computes or waits for the meter. It is kept in whole energy bins: at a
power-on reset the unfinished bin (some microseconds) is dropped, so bins of before and after
share one grid.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from hil.core.errors import SimulationError, TargetError
from hil.sim.chip import Chip, EnergyBins, MarkerEdge, Stop
from hil.sim.debug import Debugger
from hil.sim.fault_report import ExaminedChip, FaultScene, short_text
from hil.sim.profile import Functions


class PoweredChip:
    """``chip`` with a supply that can be switched and a debug probe that can flash it."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.powered = True
        self.elf_sha256: str | None = None  # of what the virtual probe has flashed
        self._functions = Functions(())  # of that
        self.loaded = False  # a debugger has written to memory
        self.held = False  # by a debugger
        self.stop: Stop = Stop.WAITING
        self.bin_s = chip.energy_drain().bin_s
        self._epoch = 0  # bench bin in which the chip's bin 0 lies
        self._next = 0  # bench bin that the next drained energy starts with
        self._held: list[np.ndarray] = []  # energies of bins from self._next on, in joules
        self._edges: list[MarkerEdge] = []
        self._level = False
        self._unmodelled = ""
        self._hung_j: float | None = None  # energy of a bin while the chip hangs

    @property
    def blank(self) -> bool:
        """Whether nothing has been flashed yet."""
        return self.elf_sha256 is None and not self.loaded

    @property
    def time_s(self) -> float:
        """Bench time now."""
        if not self.powered or self.hung:
            return self._end * self.bin_s
        return self._epoch * self.bin_s + self.chip.time_s

    @property
    def running(self) -> bool:
        """Whether time goes on by itself: on, and not waiting, ended, halted or held."""
        going = self.stop is Stop.BUDGET and not self.held
        return self.powered and not self.blank and going and not self.hung

    @property
    def halted(self) -> str | None:
        """Why the chip will draw no modelled energy any more, if that is so."""
        if self.powered and self.held:
            return "a debugger holds the chip"
        if not self.powered or self.stop not in (Stop.FAULT, Stop.EXITED):
            return None
        if self.stop is Stop.FAULT:
            return f"the chip halted: {self.fault_text}"
        return f"the firmware ended with code {self.chip.exit_code}"

    @property
    def fault_text(self) -> str:
        """Why the chip has halted, after Stop.FAULT, and where that was."""
        reason = self._unmodelled or str(self.chip.fault)
        scenes = self._scenes()
        return f"{reason}; {short_text(scenes[-1], self._symbols)}" if scenes else reason

    @property
    def taken_fault_text(self) -> str | None:
        """The last fault since power-on that the firmware's own handler was entered for."""
        taken = [scene for scene in self._scenes() if scene.handled]
        if not taken:
            return None
        return f"{taken[0].fault}; {short_text(taken[0], self._symbols)}"

    @property
    def _symbols(self) -> Functions:
        """Of the program in the chip; none when a debugger has put something else there."""
        return Functions(()) if self.loaded else self._functions

    def _scenes(self) -> tuple[FaultScene, ...]:
        chip = self.chip
        return chip.fault_scenes(self._unmodelled) if isinstance(chip, ExaminedChip) else ()

    @property
    def hung(self) -> bool:
        """Whether the chip runs in circles, deaf and dumb, until a reset."""
        return self._hung_j is not None

    # -- accidents --------------------------------------------------------------------------

    def hang(self) -> None:
        """From now on the chip draws what it just drew and does nothing else until a reset."""
        if self.powered and not self.hung:
            self._collect()
            drawn = self._held[-1] if self._held else np.zeros(0)
            self._hung_j = float(drawn[-1]) if len(drawn) else 0.0

    def brown_out(self, time_s: float) -> None:
        """The supply fails for ``time_s`` of bench time and returns."""
        if self.powered:
            self.power(False)
            self.idle_until(self.time_s + time_s)
            self.power(True)

    def erase(self) -> None:
        """Take the firmware away, as a mass erase does."""
        self._close_epoch()
        self.elf_sha256 = None
        self.loaded = False
        self._start()

    # -- debug probe and switch -------------------------------------------------------------

    def flash(self, path: Path) -> str:
        """Load the ELF, reset and start it; returns its SHA-256.

        TargetError without supply, SimulationError as the chip's.
        """
        if not self.powered:
            raise TargetError("the target has no power; switch it on before flashing")
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise SimulationError(f"{path}: cannot read: {error.strerror}") from error
        self._close_epoch()
        self.elf_sha256 = None
        self.loaded = False
        self.stop = Stop.WAITING
        self.chip.reset()  # so that a refused image leaves a chip whose time starts anew too
        self.chip.load_elf(path)
        self.elf_sha256 = digest
        if isinstance(self.chip, ExaminedChip):
            self._functions = Functions.from_elf(path)
        self.stop = Stop.BUDGET
        return digest

    def reset(self) -> None:
        """Pull the reset line."""
        if not self.powered:
            raise TargetError("the target has no power; switch it on before a reset")
        self._close_epoch()
        self._start()

    def power(self, on: bool) -> None:
        """Switch the supply; switching it on resets the chip."""
        if on and not self.powered:
            self.powered = True
            self._epoch = self._end
            self._start()
        elif not on and self.powered:
            self._close_epoch()
            self.powered = False

    # -- debugger ---------------------------------------------------------------------------

    @property
    def debugger(self) -> Debugger | None:
        """The chip's debug port; None for a chip without one."""
        return getattr(self.chip, "debugger", None)

    def release(self) -> None:
        """A debugger lets the chip go on from where it stands."""
        self.held = False
        if self.stop in (Stop.BREAK, Stop.WAITING):
            self.stop = Stop.BUDGET

    def step(self, core: int) -> Stop | None:
        """One instruction of a held chip; None: done. See Debugger.step."""
        assert self.debugger is not None
        try:
            stop = self.debugger.step(core)
        except SimulationError as error:
            self._unmodelled_stop(error)
            return self.stop
        if stop in (Stop.FAULT, Stop.EXITED):
            self.stop = stop
        return stop

    def _start(self) -> None:
        self.chip.reset()
        if self.debugger is not None and self.debugger.program_in_ram:
            self.loaded = False  # what a debugger has put there is gone
        self.stop = Stop.WAITING if self.blank else Stop.BUDGET

    # -- time -------------------------------------------------------------------------------

    def run(self, slice_s: float) -> None:
        """Let the chip run for at most ``slice_s``."""
        try:
            self.stop = self.chip.run(slice_s)
        except SimulationError as error:
            self._unmodelled_stop(error)

    def _unmodelled_stop(self, error: SimulationError) -> None:
        # The bench stays up, so that its log and its probe can tell what happened.
        print(f"twin: {self.chip.name} halted: {error}", file=sys.stderr, flush=True)
        self.stop, self._unmodelled = Stop.FAULT, str(error)

    def feed(self, data: bytes) -> None:
        """Bytes from the host; lost while the chip is off or holds no firmware."""
        if not self.powered or self.blank or self.halted or self.hung:
            return
        self.chip.uart_feed(data)
        self.stop = Stop.BUDGET

    def uart_drain(self) -> bytes:
        """Bytes for the host."""
        return self.chip.uart_drain() if self.powered and not self.hung else b""

    def idle_until(self, time_s: float) -> None:
        """Let bench time pass while nothing happens; for a chip that is off, hung or WAITING."""
        if not self.powered or self.hung:
            end = int(np.ceil(time_s / self.bin_s))
            self._held.append(np.full(max(0, end - self._end), self._hung_j or 0.0))
        elif time_s > self.time_s:
            until_s = time_s - self._epoch * self.bin_s
            if self.blank:
                self.chip.pass_time(until_s)
            else:
                self._wait(until_s)

    def _wait(self, until_s: float) -> None:
        """A firmware that waits goes round its loop, and may end there."""
        try:
            self.chip.idle_until(until_s)
        except SimulationError as error:
            self._unmodelled_stop(error)
            return
        if self.chip.fault is not None:
            self.stop = Stop.FAULT
        elif self.chip.exit_code is not None:
            self.stop = Stop.EXITED

    # -- what the meter sees ----------------------------------------------------------------

    def drain(self) -> tuple[EnergyBins, list[MarkerEdge]]:
        """Complete energy bins and marker edges since the last call, in bench time."""
        if self.powered and not self.hung:
            self._collect()
        energy_j = np.concatenate(self._held) if self._held else np.zeros(0)
        bins = EnergyBins(self._next, self.bin_s, energy_j)
        self._next += len(energy_j)
        self._held = []
        edges, self._edges = self._edges, []
        return bins, edges

    @property
    def level(self) -> bool:
        """The marker pin now, as far as collected."""
        return self._level

    @property
    def _end(self) -> int:
        return self._next + sum(len(part) for part in self._held)

    def _collect(self) -> None:
        bins = self.chip.energy_drain()
        if self._epoch + bins.first != self._end:
            raise SimulationError(
                f"{self.chip.name}: energy bins from {bins.first} on, expected from "
                f"{self._end - self._epoch}; a chip's time must not jump without a reset"
            )
        self._held.append(np.asarray(bins.energy_j, np.float64))
        start_s = self._epoch * self.bin_s
        for edge in self.chip.marker_drain():
            self._note_edge(start_s + edge.time_s, edge.level)

    def _note_edge(self, time_s: float, level: bool) -> None:
        if level != self._level:
            self._level = level
            self._edges.append(MarkerEdge(time_s, level))

    def _close_epoch(self) -> None:
        """Take what the chip still has before its time starts anew; its pins go low."""
        self._unmodelled = ""
        if self.powered:
            if not self.hung:
                self._collect()
            self._hung_j = None
            last_s = self._edges[-1].time_s if self._edges else 0.0
            self._note_edge(max(last_s, self._end * self.bin_s), False)
            self._epoch = self._end
