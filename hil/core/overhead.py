"""What measuring adds to the work that is measured, as found with empty windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Overhead:
    """Cycles of the compute clock, from ``windows`` empty windows.

    ``marker_cycles``: once a window, between the marker's edges and outside the board's count:
    they lengthen what the meter sees. ``pass_cycles``: once a pass of a window, in both: a look at
    the counter and the call. ``layer_cycles``: the same for a layer timed by itself. The
    uncertainties are standard ones. ``energy_uj`` is that of one empty window
    (``marker_cycles + pass_cycles``) by the meter; None where the meter is too slow to see it.
    """

    marker_cycles: float
    pass_cycles: float
    layer_cycles: float
    marker_uncertainty: float
    pass_uncertainty: float
    windows: int
    energy_uj: float | None = None
    energy_uncertainty_uj: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Overhead:
        return cls(**data)
