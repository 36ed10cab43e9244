"""Every part of a bench looked at: identified, or what is wrong with it and how to mend it.

All parts, and all rigs of a bench, are looked at at once. What is not attached is found without
its driver (hil.rig.attached), so a bench with nothing attached is told in seconds; what is
attached gets the deadlines of its rig file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from hil.core.errors import FlashError, HilError, InstrumentError, RigError, TargetError
from hil.core.secrets import masked
from hil.rig import firmware as firmware_of
from hil.rig.attached import REMOTE, missing_parts
from hil.rig.bench import (
    Places,
    check_real,
    check_twin,
    open_console,
    open_meter,
    open_power,
    open_probe,
    start,
)
from hil.rig.console import ignore_event, see_nothing
from hil.rig.flashers import Flasher
from hil.rig.flashers.virtual import TwinStatus
from hil.rig.lock import locked
from hil.rig.parallel import run_all
from hil.rig.rigfile import Rig
from hil.rig.twin_process import TwinCommand, twin_command


@dataclass(frozen=True)
class CheckItem:
    """One part of a bench, and what was found. ``detail`` holds no secret."""

    name: str
    ok: bool
    detail: str


def check_all(rigs: Sequence[Rig]) -> list[list[CheckItem]]:
    """``check`` of every rig of a bench, at once; in their order."""
    tasks = {str(number): lambda rig=rig: check(rig) for number, rig in enumerate(rigs)}
    limit_s = max(_most_s(rig) for rig in rigs)

    def late(_: str) -> list[CheckItem]:
        return [CheckItem("rig", False, f"its check had not ended after {limit_s:g} s")]

    return list(run_all(tasks, limit_s, late).values())


def check(
    rig: Rig, command: TwinCommand = twin_command, allow_double: bool = False
) -> list[CheckItem]:
    """Look at every part. One that fails, or that somebody else uses, does not keep the others
    from being checked; a board without firmware is no failure of the bench.
    """
    found = [CheckItem("rig file", True, masked(f"{rig.path}: {rig.name}, board {rig.board}"))]
    with ExitStack() as stack:
        try:
            places = start(rig, stack, command)
            missing = missing_parts(rig, places)
            if rig.virtual is not None:
                found.append(CheckItem("twin", True, f"started, port {places.port}"))
            if rig.place is not None:
                found.append(CheckItem("place", True, f"{places.place}: ours for the check"))
        except HilError as error:
            if rig.place is None:
                return [*found, CheckItem("twin", False, str(error))]
            found.append(CheckItem("place", False, str(error)))
            # The meter is on this side, whoever has the place.
            places = Places(rig.console.port, rig.flasher, rig.meter.resource)
            missing = missing_parts(rig, places) | dict.fromkeys(
                REMOTE, "not looked at, without the labgrid place"
            )
        parts = _Parts(rig, places, missing, allow_double)
        limit_s = _most_s(rig)
        looked = run_all(
            {"meter": parts.look_at_meter, "board": parts.look_at_board},
            limit_s,
            lambda name: [
                CheckItem(name, False, f"had not answered after {limit_s:g} s, against all its "
                          "own deadlines; unplug it and plug it in again")
            ],
        )  # fmt: skip
        return [*found, *looked["board"], *looked["meter"]]


def _most_s(rig: Rig) -> float:
    """When a part's own deadlines have certainly passed: flasher, then console, after the meter."""
    virtual_s = 0.0 if rig.virtual is None else rig.virtual.start_s
    console_s = (rig.console.answer_s + rig.console.hello_s) * 2
    return virtual_s + 10.0 + 4 * (rig.flasher.timeout_s + console_s + rig.meter.timeout_s)


class _Parts:
    """The parts of one rig, looked at from two threads.

    The board's thread waits until the meter is set up, since some meters power the board; the
    meter stays open until the board has been looked at.
    """

    def __init__(
        self, rig: Rig, places: Places, missing: Mapping[str, str], allow_double: bool
    ) -> None:
        self._rig = rig
        self._places = places
        self._missing = missing
        self._allow_double = allow_double
        self._meter_known = threading.Event()
        self._board_known = threading.Event()
        self._is_real = False

    def look_at_meter(self) -> list[CheckItem]:
        try:
            with self._held("meter") as stack:
                meter = open_meter(self._rig, self._places, stack)
                self._meter_known.set()
                self._board_known.wait()
                if self._is_real:
                    check_real(self._rig, meter)
                interval_us = meter.sample_interval_s * 1e6
                text = f"{meter.identity}: a sample every {interval_us:g} us up to"
                return [CheckItem("meter", True, f"{text} {meter.range_a:g} A")]
        except (InstrumentError, RigError) as error:
            return [CheckItem("meter", False, str(error))]
        finally:
            self._meter_known.set()

    def look_at_board(self) -> list[CheckItem]:
        try:
            self._meter_known.wait()
            with ExitStack() as stack:
                flasher, item = self._flasher(stack)
                console = self._console(flasher)
                return [item, console, *self._power()]
        finally:
            self._board_known.set()

    @contextmanager
    def _held(self, part: str) -> Iterator[ExitStack]:
        """RigError when the part is missing or somebody else's; else it is ours in the block."""
        if self._missing[part]:
            raise RigError(self._missing[part])
        with ExitStack() as stack:
            if self._rig.virtual is None:
                stack.enter_context(locked([self._places.parts[part]], self._rig.name))
            yield stack

    def _flasher(self, outer: ExitStack) -> tuple[Flasher | None, CheckItem]:
        rig = self._rig
        try:
            stack = outer.enter_context(self._held("flasher"))
            flasher, probe = open_probe(rig, self._places, stack, ignore_event)
            status: TwinStatus | None = None if probe is None else probe.status()
            check_twin(rig, flasher, status, self._allow_double)
            self._is_real = status is None
            detail = masked(f"{rig.flasher.kind}: {flasher.state()}")
            return flasher, CheckItem("flasher", True, detail)
        except (FlashError, RigError, TargetError) as error:
            return None, CheckItem("flasher", False, str(error))

    def _console(self, flasher: Flasher | None) -> CheckItem:
        port = masked(self._places.port)
        watch = see_nothing if flasher is None else flasher.halted
        try:
            with self._held("console") as stack:
                console = stack.enter_context(
                    open_console(self._rig, self._places, watch, ignore_event)
                )
                if flasher is None:
                    detail = f"{port} opens; nobody asked who answers there"
                    return CheckItem("console", True, detail)
                found = firmware_of.running(console, flasher)
        except HilError as error:
            return CheckItem("console", False, str(error))
        if isinstance(found, str):
            detail = masked(f"{port}: {found}; a measurement flashes it")
            return CheckItem("console", True, detail)
        ok = found.board == self._rig.board
        hint = f"; the rig file says {self._rig.board}: correct board or [console] port"
        return CheckItem("console", ok, f"{port}: {found}{'' if ok else hint}")

    def _power(self) -> list[CheckItem]:
        spec = self._rig.power
        if spec is None:
            return []
        try:
            if missing := self._missing.get("power"):
                raise RigError(missing)
            with ExitStack() as stack:
                open_power(self._rig, self._places, stack)
        except HilError as error:
            return [CheckItem("power", False, str(error))]
        return [CheckItem("power", True, f"{spec.kind}: there; the check leaves the supply alone")]
