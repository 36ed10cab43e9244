"""Trouble to order for one twin: on its serial wires, its chip, its meter and its flasher.

A fault is put on a wire and strikes later by itself: after so many bytes of a serial wire, after
so much bench time of the chip, after so many lines of the meter, at the next flash. Everything
above the wires then meets it as it would on a bench.

=============  =========================================================================
``to_host``    hil.sim.wires.Disturbance
``to_board``   the same, the other way
``port``       vanish: after ``after_s`` of bench time the serial port goes away, and is back
               after ``time_s`` of this computer's time, as another port by the same name
``chip``       reset, hang, brown_out (for ``time_s`` of bench time), off: after ``after_s`` of
               bench time; ``waiting``: once the chip waits for the host after that
``meter``      after ``after`` lines: mute (no answers any more), late (one answer comes after
               ``time_s``), hang_up (connection closed), preset (``*RST`` from the front panel),
               truncate and disconnect (the next block breaks off), lose and overload (``count``
               samples of the next acquisition), milli_volt, milli_ampere and milli_second (from
               now on these are the units of its numbers)
``flasher``    at the next flash: refuse (nothing is written), corrupt (a byte is written wrong),
               die (the probe hangs up), mute (the probe does not answer)
=============  =========================================================================
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hil.core.errors import SimulationError
from hil.sim.instruments.instrument import Instrument
from hil.sim.meter import VirtualMeter
from hil.sim.powered_chip import PoweredChip
from hil.sim.wires import Disturbance, PtyWire
from hil.sim.wires_lines import Reply, Wait

CHIP_FAULTS = ("reset", "hang", "brown_out", "off")
FLASHER_FAULTS = ("refuse", "corrupt", "die", "mute")
UNITS = ("milli_volt", "milli_ampere", "milli_second")
METER_FAULTS = (
    "mute", "late", "hang_up", "preset", "truncate", "disconnect", "lose", "overload", *UNITS,
)  # fmt: skip
HANG_UP = Reply(b"", hang_up=True)


@dataclass(frozen=True)
class _Strike:
    """A fault that waits for its moment: bench time for a chip, lines for a meter."""

    kind: str
    moment: float
    count: int
    time_s: float
    waiting: bool = False


class Faults:
    """The faults ordered on one twin's parts."""

    def __init__(
        self,
        console: PtyWire,
        chip: PoweredChip,
        meter: VirtualMeter | Instrument,
        unplug: Callable[[float], None],
    ) -> None:
        """``unplug(time_s)`` takes the serial port away for so long."""
        self._console = console
        self._chip = chip
        self._meter = meter
        self._unplug = unplug
        self._meter_lines = 0
        self._on_chip: list[_Strike] = []
        self._on_meter: list[_Strike] = []
        self._meter_state = ""  # mute, truncate or disconnect, once struck
        self._late_until_s: float | None = None
        self._at_flash = ""

    def order(
        self,
        wire: str,
        kind: str,
        after: int = 0,
        count: int = 1,
        time_s: float = 0.0,
        after_s: float = 0.0,
        waiting: bool = False,
    ) -> None:
        """Put a fault on a wire. SimulationError when there is no such wire or fault."""
        if wire in ("to_host", "to_board"):
            noisy = self._console.to_host if wire == "to_host" else self._console.to_board
            noisy.disturb(Disturbance(kind, after, count, time_s))
        elif wire in ("chip", "port"):
            self._check(wire, kind, CHIP_FAULTS if wire == "chip" else ("vanish",))
            strike = _Strike(kind, self._chip.time_s + after_s, count, time_s, waiting)
            self._on_chip.append(strike)
        elif wire == "meter":
            own = isinstance(self._meter, VirtualMeter)
            self._check(wire, kind, METER_FAULTS if own else METER_FAULTS[: -len(UNITS)])
            self._on_meter.append(_Strike(kind, self._meter_lines + after, count, time_s))
        elif wire == "flasher":
            self._check(wire, kind, FLASHER_FAULTS)
            self._at_flash = kind
        else:
            raise SimulationError(
                f"no wire {wire!r}; there are to_host, to_board, port, chip, meter and flasher"
            )

    @staticmethod
    def _check(wire: str, kind: str, known: tuple[str, ...]) -> None:
        if kind not in known:
            raise SimulationError(f"no fault {kind!r}; a {wire} has {', '.join(known)}")

    def clear(self) -> None:
        """No fault waits any more; what has struck the chip stays until it is reset."""
        self._console.sent.clear()
        self._console.to_host.clear()
        self._console.to_board.clear()
        self._on_chip.clear()
        self._on_meter.clear()
        self._meter_state, self._late_until_s, self._at_flash = "", None, ""
        self._meter.lose_next = self._meter.overload_next = 0
        if isinstance(self._meter, VirtualMeter):
            self._meter.milli.clear()

    def traffic(self) -> dict[str, float]:
        """What has passed: bytes either way, the meter's lines, bench time in seconds."""
        return {
            "to_host": self._console.to_host.passed,
            "to_board": self._console.to_board.passed,
            "meter": self._meter_lines,
            "chip_s": self._chip.time_s,
        }

    def sent(self) -> dict[str, str]:
        """What has left the chip's console since the last ``calm``, before any noise, in hex."""
        return {"data": self._console.sent.hex()}

    @property
    def pressing(self) -> bool:
        """Whether something will happen by this computer's clock alone."""
        held = self._console.to_host.holding or self._console.to_board.holding
        return held or self._late_until_s is not None

    # -- chip -------------------------------------------------------------------------------

    def slice_s(self, most_s: float) -> float:
        """How long the chip may run before the next fault strikes it."""
        due = [strike.moment for strike in self._on_chip if not strike.waiting]
        left_s = min(due, default=float("inf")) - self._chip.time_s
        return max(min(most_s, left_s), 1e-6)

    def strike_chip(self) -> None:
        """Let happen to the chip what is due."""
        for strike in list(self._on_chip):
            too_early = self._chip.time_s < strike.moment
            if too_early or (strike.waiting and self._chip.running):
                continue
            self._on_chip.remove(strike)
            if strike.kind == "vanish":
                self._unplug(strike.time_s)
            if not self._chip.powered:
                continue
            if strike.kind == "reset":
                self._chip.reset()
            elif strike.kind == "hang":
                self._chip.hang()
            elif strike.kind == "off":
                self._chip.power(False)
            elif strike.kind == "brown_out":
                self._chip.brown_out(strike.time_s)

    # -- meter ------------------------------------------------------------------------------

    def _strike_meter(self) -> bool:
        """Let happen to the meter what is due; whether it hangs up."""
        hangs_up = False
        for strike in [s for s in self._on_meter if s.moment <= self._meter_lines]:
            self._on_meter.remove(strike)
            if strike.kind in ("mute", "truncate", "disconnect"):
                self._meter_state = strike.kind
            elif strike.kind == "late":
                self._late_until_s = time.monotonic() + strike.time_s
            elif strike.kind == "hang_up":
                hangs_up = True
            elif strike.kind == "preset":
                self._meter.execute("*RST")
            elif strike.kind == "lose":
                self._meter.lose_next = strike.count
            elif strike.kind == "overload":
                self._meter.overload_next = strike.count
            elif isinstance(self._meter, VirtualMeter):
                self._meter.milli.add(strike.kind.removeprefix("milli_"))
        return hangs_up

    def meter_reply(self, line: str) -> Reply | None:
        """The meter's answer to ``line``, with what is wrong with it. Wait: not yet."""
        if self._late_until_s is None and self._strike_meter():
            self._meter_lines += 1
            return HANG_UP
        if self._meter_state == "mute":
            return None
        if self._late_until_s is not None:
            if time.monotonic() < self._late_until_s:
                raise Wait
            self._late_until_s = None
        answer = self._meter.execute(line)
        self._meter_lines += 1
        if answer is None:
            return None
        # Some products put a word before the block.
        if b"#" in answer[:16] and self._meter_state in ("truncate", "disconnect"):
            hang_up = self._meter_state == "disconnect"
            self._meter_state = ""
            return Reply(answer[: len(answer) // 2], hang_up)
        return Reply(answer)

    # -- flasher ----------------------------------------------------------------------------

    @property
    def probe_fails(self) -> bool:
        """Whether the probe itself will fail at the flash that comes."""
        return self._at_flash in ("die", "mute")

    def failing_probe(self) -> Reply | None:
        """What comes instead of an answer: the end of the connection, or nothing."""
        kind, self._at_flash = self._at_flash, ""
        return HANG_UP if kind == "die" else None

    def flash(self, path: Path) -> str:
        """Flash by the probe; the digest of what was written."""
        kind, self._at_flash = self._at_flash, ""
        if kind == "refuse":
            raise SimulationError("flash write failed at sector 0: the probe reports error 0x04")
        return self._flash_corrupt(path) if kind == "corrupt" else self._chip.flash(path)

    def _flash_corrupt(self, path: Path) -> str:
        """Write an image with one bit of its last byte wrong, as worn flash would hold it."""
        data = bytearray(path.read_bytes())
        data[-1] ^= 0x01
        with tempfile.NamedTemporaryFile(suffix=".elf") as file:
            file.write(data)
            file.flush()
            return self._chip.flash(Path(file.name))
