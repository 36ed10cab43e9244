"""Simulated bench instruments by the ``kind`` of a rig file, one a file.

They speak the products' command sets as their manuals have them and share no code with the
drivers in ``hil.rig.meters``.
"""

from __future__ import annotations

from hil.core.errors import SimulationError
from hil.sim.instruments.instrument import Instrument
from hil.sim.instruments.keithley_dmm6500 import KeithleyDmm6500
from hil.sim.instruments.keysight_infiniivision import KeysightInfiniiVision
from hil.sim.instruments.keysight_n6705c import KeysightN6705C
from hil.sim.instruments.rigol_ds1000z import RigolDs1000z
from hil.sim.instruments.siglent_sds1000xe import SiglentSds1000xe

INSTRUMENTS: dict[str, type[Instrument]] = {
    "keysight_n6705c": KeysightN6705C,
    "keithley_dmm6500": KeithleyDmm6500,
    "keysight_infiniivision": KeysightInfiniiVision,
    "rigol_ds1000z": RigolDs1000z,
    "siglent_sds1000xe": SiglentSds1000xe,
}


def make_instrument(kind: str, supply_v: float, seed: int = 0) -> Instrument:
    """The simulated instrument of ``kind``; SimulationError when there is none."""
    if kind not in INSTRUMENTS:
        raise SimulationError(f"no simulated {kind!r}; there are: {', '.join(INSTRUMENTS)}")
    return INSTRUMENTS[kind](supply_v, seed)
