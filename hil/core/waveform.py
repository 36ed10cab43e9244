"""A stretch of supply current, sampled together with the marker pin.

Sample ``i`` covers the time from ``t0_s + i * sample_interval_s`` to the start of the next one.
Its current is the average over that time and its marker is the pin's level at the middle of it,
so an edge between two samples of different level lies half an interval around the border of
the two. A current that comes late, by a delay between the channels or capacitance in the supply, is
in it as it was seen: hil.measure.settling judges it. A meter that knows its
edges less well than that says so in ``edge_uncertainty_s`` and ``edge_gap_s``.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass, field, fields

import numpy as np

from hil.core.errors import DataError
from hil.core.provenance import Origin

# Version of Waveform.to_bytes. 1: first; 2: with series_ohms; 3: with edge_uncertainty_s and
# edge_gap_s; 4: with source_ohms and estimated.
SCHEMA = 4
READABLE = (1, 2, 3, SCHEMA)
_ARRAYS = ("current_a", "marker", "estimated")


@dataclass(frozen=True, eq=False)
class Waveform:
    """What a meter delivered; DataError when the parts do not fit together.

    ``t0_s`` counts from the meter's own zero (a virtual meter's: since its bench was switched
    on). ``overload`` tells that at least one sample was clipped to ``range_a``.
    ``lost_samples`` were dropped somewhere inside and are *not* in the arrays: times behind
    the gap are wrong, so a waveform with lost samples has no usable window.

    ``series_ohms`` is what the current passes between the point where ``supply_v`` was told and
    the board (shunt, cables); the power is the board's, without what is lost there.

    ``edge_uncertainty_s``: beyond the half interval, every edge of the marker may lie so much
    earlier or later. ``edge_gap_s``: at an edge the current of up to so long a stretch was not
    measured; the samples in its place repeat the nearest measured one.

    ``source_ohms``: by so much the voltage was seen to sag under the current; ``supply_v`` is then
    the one without a load. ``estimated``: samples that the meter did not take as they are, by
    their numbers, int64 in rising order.
    """

    t0_s: float
    sample_interval_s: float
    current_a: np.ndarray = field(repr=False)
    marker: np.ndarray = field(repr=False)
    supply_v: float
    range_a: float
    overload: bool
    lost_samples: int
    meter: str
    origin: Origin
    series_ohms: float = 0.0
    edge_uncertainty_s: float = 0.0
    edge_gap_s: float = 0.0
    source_ohms: float = 0.0
    estimated: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)

    def __post_init__(self) -> None:
        current, marker = self.current_a, self.marker
        if current.dtype != np.float32 or marker.dtype != np.bool_:
            raise DataError(
                f"a waveform is float32 current and bool marker, got {current.dtype} and "
                f"{marker.dtype} from {self.meter}"
            )
        if current.ndim != 1 or current.shape != marker.shape:
            raise DataError(
                f"current {current.shape} and marker {marker.shape} of {self.meter} differ in "
                "length or are not one row each"
            )
        if not (math.isfinite(self.sample_interval_s) and self.sample_interval_s > 0):
            raise DataError(f"{self.meter}: a sample interval of {self.sample_interval_s} s")
        if not (0 <= self.edge_uncertainty_s < math.inf and 0 <= self.edge_gap_s < math.inf):
            raise DataError(
                f"{self.meter}: edges known to {self.edge_uncertainty_s} s with gaps of "
                f"{self.edge_gap_s} s"
            )
        if not 0 <= self.source_ohms < math.inf:
            raise DataError(f"{self.meter}: a supply of {self.source_ohms} ohms")
        places = np.concatenate(([-1], self.estimated, [len(current)]))
        if self.estimated.dtype != np.int64 or (np.diff(places) <= 0).any():
            raise DataError(
                f"{self.meter}: estimated samples are not rising numbers (int64) below {len(self)}"
            )
        if not np.isfinite(current).all():
            bad = int(np.flatnonzero(~np.isfinite(current))[0])
            raise DataError(f"{self.meter}: sample {bad} of {len(current)} is {current[bad]}")

    def __len__(self) -> int:
        return len(self.current_a)

    @property
    def duration_s(self) -> float:
        """Time covered by the samples."""
        return len(self) * self.sample_interval_s

    @property
    def board_v(self) -> float:
        """Mean voltage at the board."""
        drop_v = float(np.mean(self.current_a, dtype=np.float64)) * self._drop_ohms
        return self.supply_v - drop_v if len(self) else self.supply_v

    @property
    def power_w(self) -> np.ndarray:
        """Average power of each sample in watts, float64."""
        current_a = self.current_a.astype(np.float64)
        return current_a * (self.supply_v - current_a * self._drop_ohms)

    @property
    def _drop_ohms(self) -> float:
        return self.source_ohms + self.series_ohms

    def to_bytes(self) -> bytes:
        """A compressed .npz for the run's attachments; the same waveform gives the same bytes."""
        scalars = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _ARRAYS}
        scalars["origin"] = self.origin.value
        file = io.BytesIO()
        np.savez_compressed(
            file,
            schema=SCHEMA,
            current_a=self.current_a,
            marker=np.packbits(self.marker),
            estimated=self.estimated,
            **scalars,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Waveform:
        """The waveform back; DataError when the file is damaged or of another version."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
            raise DataError(f"damaged waveform of {len(data)} bytes: {error}") from error
        if "schema" not in content or int(content.pop("schema")) not in READABLE:
            raise DataError(f"not a waveform of schema {SCHEMA}, it holds: {', '.join(content)}")
        try:
            return _from_arrays(content)
        except KeyError as error:
            raise DataError(f"damaged waveform: {error} is missing") from error


def _from_arrays(content: dict[str, np.ndarray]) -> Waveform:
    current = content["current_a"]
    return Waveform(
        t0_s=float(content["t0_s"]),
        sample_interval_s=float(content["sample_interval_s"]),
        current_a=current,
        marker=np.unpackbits(content["marker"], count=len(current)).astype(np.bool_),
        supply_v=float(content["supply_v"]),
        range_a=float(content["range_a"]),
        overload=bool(content["overload"]),
        lost_samples=int(content["lost_samples"]),
        meter=str(content["meter"]),
        origin=Origin(str(content["origin"])),
        series_ohms=float(content.get("series_ohms", 0.0)),
        edge_uncertainty_s=float(content.get("edge_uncertainty_s", 0.0)),
        edge_gap_s=float(content.get("edge_gap_s", 0.0)),
        source_ohms=float(content.get("source_ohms", 0.0)),
        estimated=content.get("estimated", np.zeros(0, np.int64)),
    )
