"""Flashers: what brings firmware onto a board, by the ``kind`` of a rig file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hil.core.firmware import Firmware


@dataclass(frozen=True)
class FlashReport:
    """What the probe did. ``elf_sha256`` is the digest of the file it wrote."""

    elf_sha256: str
    duration_s: float
    detail: str


class Flasher(Protocol):
    """A debug probe with a hand on reset and supply. All methods raise FlashError."""

    def flash(self, firmware: Firmware) -> FlashReport:
        """Write the firmware and start it."""

    def reset(self) -> None:
        """Pull the board's reset line."""

    def power(self, on: bool) -> None:
        """Switch the board's supply."""

    def blank(self) -> bool | None:
        """Whether the board holds no firmware; None when this probe cannot tell."""

    def state(self) -> str:
        """The board as the probe sees it, one line for people."""

    def close(self) -> None:
        """Let the probe go."""
