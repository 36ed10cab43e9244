"""Recognise firmware that polls a status register, so that nobody has to simulate the wait.

A poll loop reads the same register again and again and touches no other peripheral. After a few
such reads in close succession the wait is skipped: time moves on in whole turns of the loop, so
the loop ends at the same turn it would have ended at.
"""

from __future__ import annotations

from dataclasses import dataclass

CERTAIN_AFTER = 2  # reads that must look alike before anything is skipped
LONGEST_TURN_CYCLES = 400.0  # reads further apart are work that looks at the register in passing


@dataclass
class PollWatch:
    """Counts consecutive reads of one register. ``access`` numbers every peripheral access."""

    _last_access: int = -2
    _last_cycles: float = 0.0
    _last_value: int = -1
    _turn_cycles: float = 0.0
    _alike: int = 0

    def seen(self, access: int, cycles: float, value: int) -> bool:
        """Note a read; True if the program is certainly polling."""
        turn = cycles - self._last_cycles
        alike = access == self._last_access + 1 and value == self._last_value
        self._alike = self._alike + 1 if alike and 0 < turn <= LONGEST_TURN_CYCLES else 0
        self._turn_cycles = turn
        self._last_access, self._last_cycles, self._last_value = access, cycles, value
        return self._alike >= CERTAIN_AFTER

    def skip(self, wait_cycles: float) -> float:
        """Cycles of the whole turns that fit into ``wait_cycles``; to be added to the clock."""
        turns = max(0, int(wait_cycles / self._turn_cycles))
        skipped = turns * self._turn_cycles
        self._last_cycles += skipped
        return skipped

    def forget(self) -> None:
        """The run was interrupted: the next read starts a new count."""
        self._alike = 0
