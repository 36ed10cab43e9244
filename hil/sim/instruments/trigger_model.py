"""The trigger model of Keithley's graphical instruments: buffers, edges and digitizing.

From the 2461 Reference Manual (2461-901-01, pp. 6-198 to 6-209), whose trigger model the DMM6500
shares: blocks run in the order of their numbers; a digitize block with a finite count holds the
model until its readings are there, with INF the model goes on and the readings come in the
background until another digitize block, an abort or the model's end; 0 ends them. A wait block
remembers an event of before it was reached, and passes at once, unless it clears on entering.

Not in the manuals, and assumed: each wait block has a memory of its own (the scan programs that the
firmware writes let two blocks wait for one event); what an edge takes to end a wait; how long no
reading is taken while the digitizer goes from one buffer to another (``switch_s``), and that the
model gets on only after that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MOST_JUMPS = 1000  # of blocks that take no time, before something that does
QUICKEST_S = 1e-7  # a change of buffers takes some time, or a loop of them would never end


@dataclass(frozen=True)
class Block:
    """``kind``: clear, digitize, wait or branch; ``target`` is a branch's."""

    kind: str
    buffer: str = ""
    count: float = 1  # readings; math.inf: until something else happens
    clears: bool = False  # a wait block: forgets events of before it was reached
    target: int = 0


@dataclass
class Stretch:
    """Readings into one buffer: the first begins at ``start_s``, none later than ``end_s``."""

    buffer: str
    start_s: float
    end_s: float = math.inf

    def count(self, until_s: float, interval_s: float) -> int:
        """Readings that are complete at ``until_s``."""
        done = math.floor((until_s - self.start_s) / interval_s + 1e-9)
        if math.isfinite(self.end_s):
            done = min(done, math.ceil((self.end_s - self.start_s) / interval_s - 1e-9))
        return max(0, done)


@dataclass
class TriggerModel:
    """One run of ``blocks`` from bench time ``now_s`` on, which in the end is when it ended.

    ``phase``: of the free sample clock, in samples.
    """

    blocks: dict[int, Block]
    now_s: float
    interval_s: float
    phase: float
    switch_s: float
    stretches: list[Stretch] = field(default_factory=list)
    cleared: set[str] = field(default_factory=set)  # buffers emptied at the run's start
    state: str = "RUNNING"
    _place: int = 0  # number of the block under way
    _until_s: float = 0.0  # when it is done, or when a wait was reached
    _latched: set[int] = field(default_factory=set)
    _released_s: float | None = None  # an edge is on its way to the wait under way

    def __post_init__(self) -> None:
        self._until_s = self.now_s
        self._go(min(self.blocks))
        self.advance(self.now_s)

    @property
    def running(self) -> bool:
        return self.state in ("RUNNING", "WAITING")

    def edge(self, time_s: float, latency_s: float) -> None:
        """An edge that is listened to, in order of time; it ends a wait ``latency_s`` later."""
        self.advance(time_s)
        if not self.running:
            return
        self._latched |= {n for n, block in self.blocks.items() if block.kind == "wait"}
        if self.state == "WAITING" and self._released_s is None and time_s >= self._until_s:
            self._released_s = time_s + latency_s

    def advance(self, time_s: float) -> None:
        """Run on to bench time ``time_s``."""
        while self.running:
            if self.state == "WAITING":
                if self._released_s is None or self._released_s > time_s:
                    break
                self._leave_wait(self._released_s)
            elif self._until_s > time_s:
                break
            else:
                self._arrive()
        if self.running:
            self.now_s = time_s

    def abort(self, time_s: float) -> None:
        self.advance(time_s)
        if self.running:
            self._end("ABORTED", time_s)

    # -- blocks -----------------------------------------------------------------------------

    def _go(self, place: int) -> None:
        """Start block ``place``, or the next one there is; the model ends behind the last."""
        for _ in range(MOST_JUMPS):
            later = [number for number in sorted(self.blocks) if number >= place]
            if not later:
                self._end("IDLE", self._until_s)
                return
            self._place, block = later[0], self.blocks[later[0]]
            self.state = "RUNNING"
            if block.kind == "branch":
                place = block.target
            elif block.kind == "clear":
                self.cleared.add(block.buffer)
                place = self._place + 1
            elif block.kind == "digitize":
                self._digitize(block)
                return
            else:
                return  # a wait: reached at self._until_s
        self._end("FAILED", self._until_s)

    def _end(self, state: str, time_s: float) -> None:
        self._stop_readings(time_s)
        self.state, self.now_s = state, time_s

    def _digitize(self, block: Block) -> None:
        was_reading = bool(self.stretches) and math.isinf(self.stretches[-1].end_s)
        self._stop_readings(self._until_s)
        if block.count == 0:
            return
        if was_reading:
            self._until_s += max(self.switch_s, QUICKEST_S)
        stretch = Stretch(block.buffer, self._until_s + self.phase * self.interval_s)
        self.stretches.append(stretch)
        if math.isfinite(block.count):
            stretch.end_s = stretch.start_s + block.count * self.interval_s
            self._until_s = stretch.end_s

    def _stop_readings(self, time_s: float) -> None:
        if self.stretches:
            self.stretches[-1].end_s = min(self.stretches[-1].end_s, time_s)

    def _arrive(self) -> None:
        """What was under way is done, or the wait has been reached."""
        block = self.blocks[self._place]
        if block.kind != "wait":
            self._go(self._place + 1)
        elif block.clears or self._place not in self._latched:
            self._latched.discard(self._place)
            self.state = "WAITING"
        else:
            self._leave_wait(self._until_s)

    def _leave_wait(self, time_s: float) -> None:
        self._latched.discard(self._place)
        self._until_s, self._released_s = time_s, None
        self.state = "RUNNING"
        self._go(self._place + 1)
