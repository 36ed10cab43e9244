"""What a marked window holds beside the work: the marker's own stores and the counter's reads.

It comes once a window, however often the work is repeated in it. Its length is stated by the
firmware in cycles, or measured with windows that have nothing in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hil.core.errors import InstrumentError
from hil.measure.energy import WindowEnergy


@dataclass(frozen=True)
class MarkerOverhead:
    """Time and energy of the marker in one window; the uncertainty is a standard one."""

    duration_s: float
    energy_uj: float
    uncertainty_uj: float

    @classmethod
    def stated(cls, cycles: float, clock_hz: float, window: WindowEnergy) -> MarkerOverhead:
        """From the firmware's cycles, for one window.

        What the board draws meanwhile lies between its base and the window's power: the middle
        of both, uniform in between.
        """
        if not (cycles >= 0 and clock_hz > 0):
            raise InstrumentError(f"a marker overhead of {cycles} cycles at {clock_hz} Hz")
        duration_s = cycles / clock_hz
        middle_w = (window.power_w + window.base_power_w) / 2
        half_w = abs(window.power_w - window.base_power_w) / 2
        return cls(
            duration_s, middle_w * duration_s * 1e6, half_w / math.sqrt(3) * duration_s * 1e6
        )

    @classmethod
    def measured(cls, empty: Sequence[WindowEnergy]) -> MarkerOverhead:
        """The mean of empty windows, at least two: only their spread tells how good it is."""
        if len(empty) < 2:
            raise InstrumentError(
                f"{len(empty)} empty windows; the marker's overhead needs at least 2, better 10"
            )
        energies = np.array([window.energy_uj for window in empty])
        edges = np.array([window.edge_uncertainty_uj for window in empty]) / math.sqrt(3)
        spread = energies.std(ddof=1)
        uncertainty = math.hypot(spread, math.sqrt(float((edges**2).mean()))) / math.sqrt(
            len(empty)
        )
        duration_s = float(np.mean([window.duration_s for window in empty]))
        return cls(duration_s, float(energies.mean()), uncertainty)

    def subtracted(self, window: WindowEnergy) -> WindowEnergy:
        """``window`` without the marker. InstrumentError when nothing would be left."""
        left = replace(
            window,
            energy_uj=window.energy_uj - self.energy_uj,
            duration_s=window.duration_s - self.duration_s,
        )
        if left.duration_s <= 0:
            raise InstrumentError(
                f"a window of {window.duration_s:.3g} s is not longer than the marker's own "
                f"{self.duration_s:.3g} s; repeat the work more often in it"
            )
        return left
