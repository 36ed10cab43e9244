"""Flashers: what brings firmware onto a board, by the ``kind`` of a rig file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hil.core.errors import TargetError
from hil.core.firmware import Firmware

# kind of event, text: for the journal.
Report = Callable[[str, str], None]


@dataclass(frozen=True)
class FlashReport:
    """What the probe did. ``elf_sha256`` is the digest of the file it wrote.

    ``detail`` names the tool with its version, the probe, and how the content was verified.
    """

    elf_sha256: str
    duration_s: float
    detail: str


class UnreachableError(TargetError):
    """The probe works, and the target does not answer it: no supply, held in reset, hung."""


class Flasher(Protocol):
    """A debug probe with a hand on reset.

    All methods raise FlashError when tool, probe or writing fails, UnreachableError when these do
    their part and the target does not answer.

    ``recovery`` names in a word or two what ``recover`` does. ``loads_ram``: the firmware is lost
    with the supply or at a reset, and ``reset`` and ``recover`` load it again.
    """

    recovery: str
    loads_ram: bool

    def expect(self, firmware: Firmware) -> None:
        """What ``reset`` and ``recover`` load if they have to; else it is what was last flashed."""

    def flash(self, firmware: Firmware) -> FlashReport:
        """Write the firmware, verify it and start it."""

    def reset(self) -> None:
        """Start the firmware anew."""

    def recover(self) -> None:
        """The strongest reset there is, for a board that stays silent after ``reset``."""

    def blank(self) -> bool | None:
        """Whether the board holds no firmware; None when this probe cannot tell."""

    def halted(self) -> str | None:
        """Why the board will never answer again; None when it may, or nobody can tell.

        Asked while a measurement runs: it must not disturb the board.
        """

    def state(self) -> str:
        """Tool, probe and board as far as they can be told, one line for people."""

    def close(self) -> None:
        """Let the probe go."""
