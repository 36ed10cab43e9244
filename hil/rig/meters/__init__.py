"""Power meters by the ``kind`` of a rig file, one driver a file."""

from __future__ import annotations

from collections.abc import Callable

from hil.core.errors import RigError
from hil.rig.meter import Meter
from hil.rig.meter_options import MeterOptions
from hil.rig.meters.joulescope import Joulescope
from hil.rig.meters.lpm01a import Lpm01a
from hil.rig.meters.ppk2 import Ppk2
from hil.rig.meters.scpi_digitizer import ScpiDigitizer

METERS: dict[str, Callable[..., Meter]] = {
    "scpi_digitizer": ScpiDigitizer,
    "ppk2": Ppk2,
    "lpm01a": Lpm01a,
    "joulescope": Joulescope,
}


def open_meter(
    kind: str,
    resource: str,
    timeout_s: float,
    slowdown: float,
    options: MeterOptions | None = None,
) -> Meter:
    """The driver for ``kind``, connected. InstrumentError when the instrument is not there.

    ``options`` are those of hil.rig.meter_options for this kind, None where it has none.
    """
    if kind not in METERS:
        raise RigError(f"no driver for meters of kind {kind!r}; there are: {', '.join(METERS)}")
    extra = () if options is None else (options,)
    return METERS[kind](resource, timeout_s, slowdown, *extra)
