"""What a board draws and does with its marker pin over time: the input of a simulated meter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hil.sim.chip import EnergyBins, MarkerEdge


@dataclass(frozen=True, eq=False)
class PowerTrace:
    """Power in bins of ``bin_s`` from time 0 on, at ``supply_v``.

    Before it the first bin's power is drawn, behind it the last one's, for ever.

    ``edges`` in order of time; the marker is low before the first.
    """

    power_w: np.ndarray
    bin_s: float
    supply_v: float
    edges: Sequence[MarkerEdge] = ()
    _drawn_j: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        drawn = np.concatenate(([0.0], np.cumsum(self.power_w * self.bin_s)))
        object.__setattr__(self, "_drawn_j", drawn)

    @classmethod
    def from_bins(
        cls, bins: EnergyBins, supply_v: float, edges: Sequence[MarkerEdge] = ()
    ) -> PowerTrace:
        """From what a simulated chip drew; its first bin is time 0."""
        offset_s = bins.first * bins.bin_s
        moved = [MarkerEdge(edge.time_s - offset_s, edge.level) for edge in edges]
        return cls(bins.energy_j / bins.bin_s, bins.bin_s, supply_v, moved)

    def energy_j(self, times_s: np.ndarray) -> np.ndarray:
        """Energy drawn from time 0 up to each time."""
        grid_s = np.arange(len(self._drawn_j)) * self.bin_s
        before_s, beyond_s = np.minimum(times_s, 0.0), np.maximum(times_s - grid_s[-1], 0.0)
        outside_j = before_s * self.power_w[0] + beyond_s * self.power_w[-1]
        return np.interp(times_s, grid_s, self._drawn_j) + outside_j

    def current_a(self, start_s: float, interval_s: float, count: int) -> np.ndarray:
        """Average current of ``count`` consecutive intervals."""
        borders_s = start_s + np.arange(count + 1) * interval_s
        return np.diff(self.energy_j(borders_s)) / (interval_s * self.supply_v)

    def marker(self, start_s: float, interval_s: float, count: int) -> np.ndarray:
        """The marker's level at the middle of the same intervals."""
        middles_s = start_s + (np.arange(count) + 0.5) * interval_s
        levels = np.array([False, *(edge.level for edge in self.edges)])
        times_s = np.array([edge.time_s for edge in self.edges])
        return levels[np.searchsorted(times_s, middles_s, side="right")]
