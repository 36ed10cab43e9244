"""The truth beside the meter: joules that the chip model spent while the marker was high.

No measurement sees this. It is there so that a meter's account of a window can be compared with
what really was in it, noise, offset and gain aside.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from hil.sim.chip import EnergyBins, MarkerEdge

LONGEST = 4096  # windows kept


@dataclass(frozen=True)
class MarkedWindow:
    """Bench times of both edges, and the energy between them."""

    start_s: float
    end_s: float
    energy_j: float


class MarkedEnergy:
    """Fed with what the meter is fed; within an energy bin the power counts as constant."""

    def __init__(self) -> None:
        self.windows: deque[MarkedWindow] = deque(maxlen=LONGEST)
        self._drawn_j = 0.0  # up to the first bin that is not known yet
        self._pending: list[MarkerEdge] = []
        self._rise: tuple[float, float] | None = None  # time, energy drawn until then

    def feed(self, bins: EnergyBins, edges: list[MarkerEdge]) -> None:
        """Bins follow each other without gaps; an edge may lie beyond the last of them."""
        self._pending += edges
        drawn_j = self._drawn_j + np.concatenate(([0.0], np.cumsum(bins.energy_j)))
        borders_s = (bins.first + np.arange(len(drawn_j))) * bins.bin_s
        while self._pending and self._pending[0].time_s <= borders_s[-1]:
            edge = self._pending.pop(0)
            self._note(edge, float(np.interp(edge.time_s, borders_s, drawn_j)))
        self._drawn_j = float(drawn_j[-1])

    def _note(self, edge: MarkerEdge, drawn_j: float) -> None:
        if edge.level:
            self._rise = edge.time_s, drawn_j
        elif self._rise is not None:
            start_s, before_j = self._rise
            self.windows.append(MarkedWindow(start_s, edge.time_s, drawn_j - before_j))
            self._rise = None
