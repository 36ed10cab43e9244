"""How slices are priced on the air: as the firmware sends them, or coded further."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from hil.clio.partitions import Key, Partition
from hil.clio.slicing.artifact import SlicePoint
from hil.cloud.wire import SLICE_HEADER_BYTES
from hil.coding.bits import GRID_BITS
from hil.coding.slice_codec import Coding
from hil.core.errors import DataError
from hil.loop.recorded import recorded_slicing
from hil.run.reader import Run


@dataclass(frozen=True)
class Encoding:
    """A coding and its bits a value. DataError for raw values of fewer than 8 bits.

    Only raw slices are a complete cost: no board runs another coder yet, so the coder's time and
    energy on the device are not measured.
    """

    coding: Coding = Coding.RAW
    bits: int = GRID_BITS

    def __post_init__(self) -> None:
        if self.coding is Coding.RAW and self.bits != GRID_BITS:
            raise DataError(f"raw slices have 8 bits a value, not {self.bits}; choose packed")

    @classmethod
    def named(cls, coding: str, bits: int) -> Encoding:
        """From the coding's name in lower case; DataError lists them."""
        names = [one.name.lower() for one in Coding]
        if coding not in names:
            raise DataError(f"no coding {coding!r}; choose {', '.join(names)}")
        return cls(Coding[coding.upper()], bits)

    @property
    def complete(self) -> bool:
        """Whether everything that this costs has been measured."""
        return self.coding is Coding.RAW

    def payload_bytes(self, point: SlicePoint) -> float:
        """Bytes of a slice that was evaluated with these bits; the mean if they vary."""
        if self.coding is Coding.RAW:
            return point.raw_bytes
        return point.packed_bytes if self.coding is Coding.PACKED else point.range_bytes

    def __str__(self) -> str:
        name = {Coding.RAW: "raw", Coding.PACKED: "packed", Coding.RANGE: "range-coded"}
        return f"{name[self.coding]}, {self.bits} bits a value"


RAW = Encoding()


def coded_points(run: Run, encoding: Encoding) -> dict[Key, SlicePoint]:
    """The run's slices at the encoding's bits. DataError if nobody evaluated them so."""
    slicing = recorded_slicing(run)
    if slicing is None:
        raise DataError(
            f"{run.folder}: the network was not trained for slices, so only raw 8-bit values were "
            "evaluated; measure a sliced model to price other codings"
        )
    points = {(p.cut, p.channels): p for p in slicing.points if p.bits == encoding.bits}
    if not points:
        known = sorted({p.bits for p in slicing.points}, reverse=True)
        raise DataError(
            f"{run.folder}: no slice was evaluated with {encoding.bits} bits a value; choose "
            f"{', '.join(str(bits) for bits in known)}"
        )
    return points


def coded(
    candidates: Iterable[Partition], points: Mapping[Key, SlicePoint], encoding: Encoding
) -> tuple[Partition, ...]:
    """The candidates with the bytes of their coded slices, to the nearest whole byte.

    Latency and energy are linear in bytes, so mean bytes give their means. The raw image and
    everything on the device stay what they are.
    """
    return tuple(
        candidate
        if (point := points.get(candidate.key)) is None
        else replace(
            candidate, wire_bytes=round(encoding.payload_bytes(point)) + SLICE_HEADER_BYTES
        )
        for candidate in candidates
    )
