"""Where a number comes from. Numbers of different origin never share a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Origin(StrEnum):
    """Measured on hardware, counted by a simulator, or computed by a formula."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    MODELLED = "modelled"


@dataclass(frozen=True)
class Provenance:
    """What must be the same for two costs to be comparable."""

    cycles_origin: Origin
    energy_origin: Origin
    board: str
    chip_id: str
    clock_hz: int
    toolchain: str
    build_id: str
    network: str
    network_digest: str
    timing_model: str
    meter: str
    rig: str
    protocol: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Provenance:
        origins = {k: Origin(data[k]) for k in ("cycles_origin", "energy_origin")}
        return cls(**{**data, **origins})
