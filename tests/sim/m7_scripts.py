"""Scripts for a Cortex-M7: what a program does step by step, in and out of handlers, as data.

A player on the target (tests/sim/firmware/m7_exceptions.S) takes the steps one after the other,
some twenty cycles each; those of an exception's handler when it runs. What it did, in order, is the
trail.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from targets import Programs, Target, write_words

SOURCE = Path(__file__).parent / "firmware" / "m7_exceptions.S"
EXCEPTIONS = 16 + 98
DATA, SCRIPTS, TRAIL = 0x8000, 0x8400, 0xA000  # behind the start of RAM; no program is as long

Step = tuple[int, int, int, int]  # operation, address, value, mask
END = (0, 0, 0, 0)
CALL = (4, 0, 0, 0)  # SVC


def store(address: int, value: int) -> Step:
    """A word, and wait until it is there."""
    return 1, address, value, 0


def read(address: int) -> Step:
    """A word into the trail."""
    return 2, address, 0, 0


def mark(number: int) -> Step:
    """A number into the trail."""
    return 3, 0, number, 0


def primask(value: int) -> Step:
    """Write the special register."""
    return 5, 0, value, 0


def faultmask(value: int) -> Step:
    """Write the special register."""
    return 6, 0, value, 0


def basepri(value: int) -> Step:
    """Write the special register."""
    return 7, 0, value, 0


def wait_until(trail: int) -> Step:
    """The trail, written to by handlers, has come to this address."""
    return 8, 0, trail, 0


def sleep_until(trail: int) -> Step:
    """The same asleep: WFI once, and again until the trail has come there."""
    return 9, 0, trail, 0


def await_bits(address: int, mask: int, value: int) -> Step:
    """Read the word until its bits in ``mask`` are ``value``; the run fails if that never is."""
    return 10, address, value, mask


def spin(turns: int) -> Step:
    """Let time pass."""
    return 11, 0, turns, 0


def leave_by(code: int) -> Step:
    """Return from the handler by this EXC_RETURN."""
    return 12, 0, code, 0


class Scripts:
    """Runs them on a target."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.programs = Programs(SOURCE, "cortex-m7", target, folder)
        self.data = target.ram.start + DATA  # EXCEPTIONS words
        self._scripts = target.ram.start + SCRIPTS

    def run(
        self, main: Sequence[Step], handlers: Mapping[int, Sequence[Step]] | None = None
    ) -> list[int]:
        """The trail of ``main``, with ``handlers`` for some exceptions, as signed words.

        Each handler leaves its exception's number at its entry, minus that at its end.
        """
        addresses = [0] * EXCEPTIONS
        image = b""
        for exception, steps in {0: main, **(handlers or {})}.items():
            addresses[exception] = self._scripts + len(image)
            image += b"".join(struct.pack("<4I", *step) for step in (*steps, END))
        assert len(image) <= TRAIL - SCRIPTS

        def prepare() -> None:
            write_words(self.target, self.data, *addresses)
            self.target.write(self._scripts, image)

        behind = self.programs.symbols["stop"]
        registers = {"r5": 0, "r6": 0, "r7": self.data, "r8": self.trail(0), "r9": addresses[0]}
        self.programs.run("script", prepare, r10=behind, r11=0, **registers)
        end, failed = self.programs.results("r8", "r6")
        assert failed == 0, f"0x{failed:08x} has not become what was waited for"
        count = (end - self.trail(0)) // 4
        return list(struct.unpack(f"<{count}i", self.target.read(self.trail(0), 4 * count)))

    def trail(self, count: int) -> int:
        """Where the trail is when it has ``count`` entries."""
        return self.target.ram.start + TRAIL + 4 * count
