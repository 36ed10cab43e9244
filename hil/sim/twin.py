"""The virtual bench of one board: a simulated chip behind a serial port, a meter and a probe.

    python -m hil.sim.twin --board gap8 --dir DIR [--meter keysight_n6705c]

In DIR it makes ``console`` (a serial port), ``meter.port`` (the TCP port of the SCPI meter on
127.0.0.1), ``gdb.port`` (that of the chip's GDB stub, if it has one) and ``control.sock`` (the
debug probe and switchboard, one JSON object a line):

    {"command": "flash", "elf": "/path/to.elf"}     {"command": "status"}
    {"command": "reset"}                            {"command": "power", "on": false}
    {"command": "quit"}
    {"command": "erase"}                            {"command": "traffic"}
    {"command": "calm"}                             {"command": "sent"}
    {"command": "marked"}
    {"command": "disturb", "wire": "to_host", "kind": "flip", "after": 3, "count": 1}
    {"command": "disturb", "wire": "meter", "kind": "mute"}

Answers are ``{"ok": true, ...}`` or ``{"ok": false, "error": "...", "unreachable": false}``, where
``unreachable`` says that the probe is sound and the chip does not answer it. Wires to disturb and
their faults are listed in hil.sim.faults; ``calm`` takes away those that have not struck,
``traffic`` and ``sent`` tell what has passed on the wires. ``marked`` tells the joules that the
chip model has spent in each window of the marker since the twin started: what a meter should have
found.

Time belongs to the chip. It runs as fast as it can while the firmware computes and stands
still while the firmware waits for the host, except that a meter which somebody waits for
lets idle time pass until its acquisition is complete.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hil.core.errors import HilError, SimulationError, TargetError
from hil.sim.chip import Chip
from hil.sim.chips import CHIPS, make_chip
from hil.sim.faults import Faults
from hil.sim.gdb.server import GdbServer, listen
from hil.sim.gdb.stub import Stub
from hil.sim.instruments import INSTRUMENTS, make_instrument
from hil.sim.instruments.instrument import Instrument
from hil.sim.marked import MarkedEnergy
from hil.sim.meter import VirtualMeter
from hil.sim.powered_chip import PoweredChip
from hil.sim.wires import PtyWire
from hil.sim.wires_lines import LineServer, Reply

SLICE_S = 0.003  # chip time between two looks at the wires
IDLE_STEP_S = 0.05
ORPHAN_CHECK_S = 0.5
OWN_METER = "scpi_digitizer"  # the VPM1; other kinds are simulated products
PRESSING_S = 0.005  # between two looks while this computer's clock decides


class Twin:
    """One board's virtual bench in folder ``directory``; ``run`` serves it until ``quit``."""

    def __init__(
        self,
        chip: Chip,
        board: str,
        directory: Path,
        seed: int = 0,
        parent: int | None = None,
        meter: str = OWN_METER,
    ) -> None:
        self.board = board
        self.directory = directory
        self.chip = PoweredChip(chip)
        self.meter = _make_meter(meter, chip.supply_v, seed)
        self._marked = MarkedEnergy()
        self._parent = parent
        self._quit = False
        self._selector = selectors.DefaultSelector()
        self._console = PtyWire(directory / "console")
        self._plugged, self._plug_at_s = True, 0.0
        self._faults = Faults(self._console, self.chip, self.meter, self._unplug)
        self._selector.register(self._console, selectors.EVENT_READ, self._on_console)
        self._meter_server = LineServer(
            self._selector, self._listen_meter(), self._faults.meter_reply
        )
        self._gdb = self._open_gdb()
        # The socket comes last: whoever can connect finds everything else in place.
        self._control = LineServer(self._selector, self._listen_control(), self._on_control)

    def run(self) -> None:
        """Serve until ``quit``, a signal, or the end of the parent process."""
        try:
            while not self._quit and not self._orphaned():
                for key, mask in self._selector.select(self._patience_s):
                    key.data(mask)
                self._advance()
        finally:
            self.close()

    def quit(self) -> None:
        """Let ``run`` return."""
        self._quit = True

    def close(self) -> None:
        """Take the wires away."""
        self._control.close()
        self._meter_server.close()
        if self._gdb is not None:
            self._gdb.close()
        if self._plugged:
            self._selector.unregister(self._console)
            self._console.close()
        self._selector.close()
        for name in ("control.sock", "meter.port", "gdb.port"):
            (self.directory / name).unlink(missing_ok=True)

    # -- set-up -----------------------------------------------------------------------------

    def _listen_meter(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        (self.directory / "meter.port").write_text(f"{port}\n", encoding="ascii")
        return listener

    def _open_gdb(self) -> GdbServer | None:
        if self.chip.debugger is None:
            return None
        server = GdbServer(self._selector, listen(0), Stub(self.chip))
        (self.directory / "gdb.port").write_text(f"{server.port}\n", encoding="ascii")
        return server

    def _listen_control(self) -> socket.socket:
        path = self.directory / "control.sock"
        early = path.with_suffix(".new")
        early.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(early))
        except OSError as error:  # paths of Unix sockets end at 107 bytes
            raise SimulationError(f"{path}: no control socket here: {error}") from error
        listener.listen()
        # By its own name only now: between bind and listen whoever sees it is refused.
        early.rename(path)
        return listener

    # -- the loop ---------------------------------------------------------------------------

    @property
    def _meter_waits(self) -> bool:
        return self._meter_server.waiting and self.meter.needed_until_s is not None

    @property
    def _busy(self) -> bool:
        return self.chip.running or self._meter_waits

    @property
    def _patience_s(self) -> float:
        """How long to wait for the wires."""
        if self._busy:
            return 0.0
        return PRESSING_S if self._faults.pressing or not self._plugged else ORPHAN_CHECK_S

    def _orphaned(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent

    def _advance(self) -> None:
        if self.chip.running:
            self.chip.run(self._faults.slice_s(SLICE_S))
        elif self._meter_waits:
            self._let_time_pass()
        self._faults.strike_chip()
        if not self._plugged and time.monotonic() >= self._plug_at_s:
            self._plug()
        if self._gdb is not None:
            self._gdb.poll()
        self._send(self.chip.uart_drain())
        bins, edges = self.chip.drain()
        self.meter.feed(self.chip.time_s, bins, edges)
        self._marked.feed(bins, edges)
        if self._meter_server.waiting:
            self._meter_server.retry()

    def _let_time_pass(self) -> None:
        if reason := self.chip.halted:
            self.meter.halt(reason)
        elif (until_s := self.meter.needed_until_s) is not None:
            # One bin beyond the end completes the bin in which the end lies.
            step_s = min(until_s + self.chip.bin_s - self.chip.time_s, IDLE_STEP_S)
            self.chip.idle_until(self.chip.time_s + step_s)

    def _on_console(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._send(b"")
        if mask & selectors.EVENT_READ:
            self.chip.feed(self._console.read())

    def _unplug(self, time_s: float) -> None:
        if self._plugged:
            self._selector.unregister(self._console)
            self._console.close()
        self._plugged, self._plug_at_s = False, time.monotonic() + time_s

    def _plug(self) -> None:
        self._console.plug()
        self._selector.register(self._console, selectors.EVENT_READ, self._on_console)
        self._plugged = True

    def _carry_delayed(self) -> None:
        """What a delay has held back, once it is over."""
        if self._console.to_board.holding:
            self.chip.feed(self._console.to_board.carry(b""))
        if self._console.to_host.holding:
            self._console.write(b"")

    def _send(self, data: bytes) -> None:
        if not self._plugged:
            return  # nobody is at the other end
        self._carry_delayed()
        if data or self._console.full:
            self._console.write(data)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._console.full else 0)
        if self._selector.get_key(self._console).events != events:
            self._selector.modify(self._console, events, self._on_console)

    # -- control ----------------------------------------------------------------------------

    def _on_control(self, line: str) -> Reply | None:
        try:
            request = json.loads(line)
            name = request.pop("command")
            if name == "flash" and self._faults.probe_fails:
                return self._faults.failing_probe()
            result = self._commands()[name](**request)
            answer: dict[str, Any] = {"ok": True, **(result or {})}
        except HilError as error:
            unreachable = isinstance(error, TargetError)
            answer = {"ok": False, "error": str(error), "unreachable": unreachable}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            known = ", ".join(self._commands())
            answer = {"ok": False, "error": f"not a command: {line!r} ({error}); there are {known}"}
        return Reply(json.dumps(answer).encode() + b"\n")

    def _commands(self) -> dict[str, Callable[..., dict[str, Any] | None]]:
        return {
            "flash": self._flash,
            "reset": self.chip.reset,
            "power": self.chip.power,
            "status": self._status,
            "erase": self.chip.erase,
            "traffic": self._faults.traffic,
            "sent": self._faults.sent,
            "marked": self._marked_windows,
            "disturb": self._faults.order,
            "calm": self._faults.clear,
            "quit": self.quit,
        }

    def _flash(self, elf: str) -> dict[str, Any]:
        return {"elf_sha256": self._faults.flash(Path(elf))}

    def _marked_windows(self) -> dict[str, Any]:
        return {"windows": [asdict(window) for window in self._marked.windows]}

    def _status(self) -> dict[str, Any]:
        chip = self.chip.chip
        return {
            "board": self.board,
            "chip": chip.name,
            "timing_model": getattr(chip, "timing_model", "not stated by the chip"),
            "double": bool(getattr(chip, "is_double", False)),
            "supply_v": chip.supply_v,
            "meter": self.meter.idn,
            "powered": self.chip.powered,
            "blank": self.chip.blank,
            "elf_sha256": self.chip.elf_sha256,
            "state": self.chip.stop.name.lower(),
            "halted": self.chip.halted,
            "taken_fault": self.chip.taken_fault_text,
            "time_s": self.chip.time_s,
            "lost_bytes": self._console.lost_bytes,
            "counters": {name: int(value) for name, value in chip.counters().items()},
        }


def _make_meter(kind: str, supply_v: float, seed: int) -> VirtualMeter | Instrument:
    return (
        VirtualMeter(supply_v, seed) if kind == OWN_METER else make_instrument(kind, supply_v, seed)
    )


def serve(twin: Twin) -> None:
    """Run ``twin`` as a process's main task."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # An exception, since a mere flag would be seen only when select() comes back.
        signal.signal(number, lambda *_: sys.exit(0))
    twin.run()


def main(arguments: list[str] | None = None) -> int:
    """The command line; errors go to stderr as one line."""
    parser = argparse.ArgumentParser(prog="python -m hil.sim.twin", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--board", required=True, choices=sorted(CHIPS))
    parser.add_argument("--dir", required=True, type=Path, help="folder for the wires' ends")
    parser.add_argument("--seed", type=int, default=0, help="of the meter's errors and noise")
    parser.add_argument("--meter", default=OWN_METER, choices=[OWN_METER, *INSTRUMENTS])
    parser.add_argument("--data-cache", default="", help="STM32F7: average or lines")
    parser.add_argument("--core-v", type=float, help="GAP8: core voltage at the start")
    parser.add_argument("--parent", type=int, help="process whose end ends the twin")
    options = parser.parse_args(arguments)
    try:
        serve(
            Twin(
                make_chip(options.board, options.data_cache, options.core_v),
                options.board,
                options.dir,
                options.seed,
                options.parent,
                options.meter,
            )
        )
    except (HilError, OSError) as error:
        print(f"twin: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
