"""A power trace made of segments: what a simulated instrument measures when no chip is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hil.sim.chip import EnergyBins, MarkerEdge

BIN_S = 2e-6


@dataclass(frozen=True)
class Segment:
    """A stretch of constant current with the marker at one level."""

    duration_s: float
    current_a: float
    marker: bool = False


class Profile:
    """Plays ``segments`` once from time 0, then draws ``idle_a`` with the marker low.

    ``marker_edges`` in time order; the energy of a bin is exact where a segment ends in it.
    """

    def __init__(self, segments: Sequence[Segment], supply_v: float, idle_a: float = 0.0) -> None:
        self.supply_v = supply_v
        self.time_s = 0.0
        self._bin = 0
        self._idle_w = idle_a * supply_v
        ends_s = np.cumsum([segment.duration_s for segment in segments])
        self._grid_s = np.concatenate(([0.0], ends_s))
        energy_j = [s.duration_s * s.current_a * supply_v for s in segments]
        self._drawn_j = np.concatenate(([0.0], np.cumsum(energy_j)))
        self._edges = []
        level = False
        for start_s, segment in zip(self._grid_s, [*segments, Segment(0, 0)], strict=True):
            if segment.marker != level:
                level = segment.marker
                self._edges.append(MarkerEdge(float(start_s), level))

    def advance(self, time_s: float) -> tuple[EnergyBins, list[MarkerEdge]]:
        """Let time pass to the end of the bin of ``time_s``; what happened since the last call."""
        last = max(self._bin, int(np.ceil(time_s / BIN_S - 1e-9)))
        borders_s = np.arange(self._bin, last + 1) * BIN_S
        bins = EnergyBins(self._bin, BIN_S, np.diff(self._drawn(borders_s)))
        before_s, self.time_s, self._bin = self.time_s, last * BIN_S, last
        return bins, [e for e in self._edges if before_s <= e.time_s < self.time_s]

    def _drawn(self, times_s: np.ndarray) -> np.ndarray:
        beyond_s = np.maximum(times_s - self._grid_s[-1], 0.0)
        return np.interp(times_s, self._grid_s, self._drawn_j) + beyond_s * self._idle_w
