"""Power meters by the ``kind`` of a rig file, one driver a file."""

from __future__ import annotations

from collections.abc import Callable

from hil.core.errors import RigError
from hil.rig.meter import Meter
from hil.rig.meter_options import MeterOptions
from hil.rig.meters.joulescope import Joulescope
from hil.rig.meters.keithley_dmm6500 import KeithleyDmm6500
from hil.rig.meters.keysight_infiniivision import KeysightInfiniiVision
from hil.rig.meters.keysight_n6705c import KeysightN6705C
from hil.rig.meters.lpm01a import Lpm01a
from hil.rig.meters.ppk2 import Ppk2
from hil.rig.meters.rigol_ds1000z import RigolDs1000z
from hil.rig.meters.scpi_digitizer import ScpiDigitizer
from hil.rig.meters.siglent_sds1000xe import SiglentSds1000xe

METERS: dict[str, Callable[..., Meter]] = {
    "scpi_digitizer": ScpiDigitizer,
    "ppk2": Ppk2,
    "lpm01a": Lpm01a,
    "joulescope": Joulescope,
    "keysight_n6705c": KeysightN6705C,
    "keithley_dmm6500": KeithleyDmm6500,
    "keysight_infiniivision": KeysightInfiniiVision,
    "rigol_ds1000z": RigolDs1000z,
    "siglent_sds1000xe": SiglentSds1000xe,
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
