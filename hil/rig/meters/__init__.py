"""Power meters by the ``kind`` of a rig file, one driver a file."""

from __future__ import annotations

from hil.core.errors import RigError
from hil.rig.meter import Meter
from hil.rig.meters.scpi_digitizer import ScpiDigitizer

METERS = {"scpi_digitizer": ScpiDigitizer}


def open_meter(kind: str, resource: str, timeout_s: float, slowdown: float) -> Meter:
    """The driver for ``kind``, connected. InstrumentError when the instrument is not there."""
    if kind not in METERS:
        raise RigError(f"no driver for meters of kind {kind!r}; there are: {', '.join(METERS)}")
    return METERS[kind](resource, timeout_s, slowdown)
