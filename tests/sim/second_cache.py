"""A plain model of the STM32F7's data cache, to compare the simulator's with."""

from __future__ import annotations

from collections import defaultdict

WAYS, LINE_BYTES = 4, 32


class SecondCache:
    """Sets by address bits, four ways replaced in turn, allocation on loads and stores."""

    def __init__(self, sets: int) -> None:
        self._sets = sets
        self._ways: dict[int, list[int]] = defaultdict(list)
        self._turn: dict[int, int] = defaultdict(int)
        self._modified: set[int] = set()
        self.misses = self.write_backs = 0

    def access(self, address: int, stores: bool) -> None:
        """One load or store."""
        line = address // LINE_BYTES
        lines = self._ways[line % self._sets]
        if line not in lines:
            self.misses += 1
            if len(lines) < WAYS:
                lines.append(line)
            else:
                at = self._turn[line % self._sets]
                self.write_backs += lines[at] in self._modified
                self._modified.discard(lines[at])
                lines[at] = line
                self._turn[line % self._sets] = (at + 1) % WAYS
        if stores:
            self._modified.add(line)
