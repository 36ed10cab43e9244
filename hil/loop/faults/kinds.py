"""The faults of the campaign: which there are, how one is drawn, and who is to blame for it.

A fault's place is drawn evenly over what an undisturbed run needs: bytes of the serial line, lines
of the meter, bench time of the chip, bytes of the journal. So every moment of a run is met.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum

import numpy as np


class Culprit(StrEnum):
    """Who failed, as a person on the bench would say it."""

    LINK = "link"
    TARGET = "target"
    METER = "meter"
    FLASHER = "flasher"
    DISK = "disk"


# hil.core.trial.Verdict.who -> the same in the bench's words; other words are nobody's here.
CULPRIT_OF = {
    "protocol": Culprit.LINK,
    "rig": Culprit.LINK,
    "target": Culprit.TARGET,
    "instrument": Culprit.METER,
    "flash": Culprit.FLASHER,
    "journal": Culprit.DISK,
}


@dataclass(frozen=True)
class Extent:
    """What an undisturbed run needs of every wire."""

    to_host: int
    to_board: int
    meter: int
    chip_s: float
    journal_bytes: int


@dataclass(frozen=True)
class Order:
    """Arguments of the twin's ``disturb`` command (hil.sim.faults)."""

    wire: str
    kind: str
    after: int = 0
    count: int = 1
    time_s: float = 0.0
    after_s: float = 0.0
    waiting: bool = False

    def __str__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.default is not MISSING}
        told = [f"{name}={value:.6g}" for name, value in given.items() if value]
        return " ".join([self.wire, self.kind, *told])


@dataclass(frozen=True)
class Plan:
    """What happens in one trial.

    ``erased``: the board starts blank, so that it is flashed. ``disk_bytes``: no file grows beyond
    that size. ``kill_bytes``: the process is killed once its journal has so many bytes;
    ``torn``: in the middle of writing, by the kernel. ``culprits`` are those whom a failure may be
    put down to.
    """

    name: str
    culprits: frozenset[Culprit]
    orders: tuple[Order, ...] = ()
    erased: bool = False
    disk_bytes: int | None = None
    kill_bytes: int | None = None
    torn: bool = False

    def __str__(self) -> str:
        host = [f"erased={self.erased}"] * self.erased
        host += [f"disk={self.disk_bytes} bytes"] * (self.disk_bytes is not None)
        host += [f"kill at {self.kill_bytes} bytes, torn={self.torn}"] * (
            self.kill_bytes is not None
        )
        return f"{self.name}: " + "; ".join([*map(str, self.orders), *host])


Draw = Callable[[np.random.Generator, Extent, float], Plan]
# A delay is drawn up to so many times the console's answer_s: it may end in time or not.
LONGEST_DELAY = 1.5
# Bytes of one disturbance: from noise to a frame's worth.
MOST_BYTES = 40


def _at(rng: np.random.Generator, extent: float) -> int:
    return int(rng.integers(max(1, int(extent))))


def _bytes_fault(wire: str, kind: str) -> Draw:
    def draw(rng: np.random.Generator, extent: Extent, answer_s: float) -> Plan:
        count = 1 if rng.random() < 0.5 else int(rng.integers(2, MOST_BYTES))
        order = Order(wire, kind, _at(rng, getattr(extent, wire)), count)
        return Plan(f"{wire} {kind}", frozenset({Culprit.LINK}), (order,))

    return draw


def _delay(wire: str) -> Draw:
    def draw(rng: np.random.Generator, extent: Extent, answer_s: float) -> Plan:
        time_s = float(rng.uniform(0.05, LONGEST_DELAY) * answer_s)
        order = Order(wire, "delay", _at(rng, getattr(extent, wire)), time_s=time_s)
        # A line that is dead for as long as a board may think cannot be told from a dead board.
        return Plan(f"{wire} delay", frozenset({Culprit.LINK, Culprit.TARGET}), (order,))

    return draw


def _vanish(rng: np.random.Generator, extent: Extent, answer_s: float) -> Plan:
    after_s = float(rng.uniform(0, extent.chip_s))
    order = Order("port", "vanish", time_s=float(rng.uniform(0, 2.0)), after_s=after_s)
    return Plan("port vanish", frozenset({Culprit.LINK}), (order,))


def _chip(kind: str) -> Draw:
    def draw(rng: np.random.Generator, extent: Extent, answer_s: float) -> Plan:
        # Half of them while it computes or sends, half between two requests.
        waiting = bool(rng.random() < 0.5)
        after_s = float(rng.uniform(0, extent.chip_s))
        time_s = float(10 ** rng.uniform(-5, -2))
        order = Order("chip", kind, time_s=time_s, after_s=after_s, waiting=waiting)
        return Plan(f"chip {kind}", frozenset({Culprit.TARGET}), (order,))

    return draw


def _meter(kind: str) -> Draw:
    def draw(rng: np.random.Generator, extent: Extent, answer_s: float) -> Plan:
        count = 1 if rng.random() < 0.5 else int(rng.integers(2, 200))
        time_s = float(rng.uniform(0.05, LONGEST_DELAY) * answer_s)
        order = Order("meter", kind, _at(rng, extent.meter), count, time_s)
        return Plan(f"meter {kind}", frozenset({Culprit.METER}), (order,))

    return draw


def _flasher(kind: str) -> Draw:
    def draw(rng: np.random.Generator, extent: Extent, answer_s: float) -> Plan:
        order = Order("flasher", kind)
        return Plan(f"flasher {kind}", frozenset({Culprit.FLASHER}), (order,), erased=True)

    return draw


def _disk_full(rng: np.random.Generator, extent: Extent, answer_s: float) -> Plan:
    size = _at(rng, extent.journal_bytes)
    return Plan("disk full", frozenset({Culprit.DISK}), disk_bytes=size)


def _killed(torn: bool) -> Draw:
    def draw(rng: np.random.Generator, extent: Extent, answer_s: float) -> Plan:
        name = "process killed while writing" if torn else "process killed"
        return Plan(name, frozenset(), kill_bytes=_at(rng, extent.journal_bytes), torn=torn)

    return draw


KINDS: tuple[Draw, ...] = (
    *(_bytes_fault(w, k) for w in ("to_host", "to_board")
      for k in ("drop", "flip", "duplicate", "insert")),
    *(_delay(wire) for wire in ("to_host", "to_board")),
    _vanish,
    *map(_chip, ("reset", "hang", "brown_out", "off")),
    *map(_meter, (
        "mute", "late", "hang_up", "preset", "truncate", "disconnect", "lose", "overload",
        "milli_volt", "milli_ampere", "milli_second",
    )),
    *map(_flasher, ("refuse", "corrupt", "die", "mute")),
    _disk_full,
    _killed(torn=False),
    _killed(torn=True),
)  # fmt: skip


# From the second round on, one trial in so many has two faults.
TWO_FAULTS = 4


def draw_plan(seed: int, number: int, extent: Extent, answer_s: float) -> Plan:
    """The plan of trial ``number`` of the campaign ``seed``: the same for the same extent.

    Kinds take turns, so that a short campaign meets each of them as often as another.
    """
    rng = np.random.default_rng([seed, number])
    plan = KINDS[number % len(KINDS)](rng, extent, answer_s)
    if number < len(KINDS) or rng.integers(TWO_FAULTS):
        return plan
    return _both(plan, KINDS[rng.integers(len(KINDS))](rng, extent, answer_s))


def _both(first: Plan, second: Plan) -> Plan:
    """Both plans at once; of two that end the process the second one counts."""
    ends = second if second.disk_bytes or second.kill_bytes else first
    return Plan(
        "two faults",
        first.culprits | second.culprits,
        (*first.orders, *second.orders),
        first.erased or second.erased,
        ends.disk_bytes,
        ends.kill_bytes,
        ends.torn,
    )
