"""What a meter needs to know beyond rate and range: the ``[meter.options]`` table of a rig file.

One class a kind of meter. The rig file's reader checks names and types; what a value may be is
checked here, and a RigError begins with the key it is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil.core.errors import RigError


@dataclass(frozen=True)
class Ppk2Options:
    """Nordic Power Profiler Kit II.

    ``supply_v``: in mode "source" what the kit puts out, in mode "ampere" what feeds the board,
    as measured by hand (the kit cannot tell it). ``marker``: the logic input, D0 to D7.
    ``spike_filter``: "settled" replaces the three samples after a change of range by the one behind
    them and tells them as estimates; "none" keeps what the converter gave, spikes and all.
    """

    supply_v: float
    mode: str = "source"
    marker: int = 0
    spike_filter: str = "settled"

    def __post_init__(self) -> None:
        _between("supply_v", self.supply_v, 0.8, 5.0)
        _one_of("mode", self.mode, ("source", "ampere"))
        _between("marker", self.marker, 0, 7)
        _one_of("spike_filter", self.spike_filter, ("settled", "none"))


@dataclass(frozen=True)
class Lpm01aOptions:
    """ST X-NUCLEO-LPM01A.

    ``supply_v`` is what the board puts out. ``marker``: "none" (current only, no windows) or
    "events": each edge event on D7 turns the marker's level; see docs/usb-meters.md for the
    circuit this needs.
    """

    supply_v: float
    marker: str = "none"

    def __post_init__(self) -> None:
        _between("supply_v", self.supply_v, 1.8, 3.3)
        _one_of("marker", self.marker, ("none", "events"))


@dataclass(frozen=True)
class JoulescopeOptions:
    """Joulescope JS110 or JS220.

    ``marker``: the general-purpose input, 0 or 1 (JS220: 0 to 3). ``io_v``: the marker's high
    level in volts; 0 takes the level from the VREF pin (JS220 only).
    """

    marker: int = 0
    io_v: float = 3.3

    def __post_init__(self) -> None:
        _between("marker", self.marker, 0, 3)
        _between("io_v", self.io_v, 0.0, 5.0)


@dataclass(frozen=True)
class KeysightN6705COptions:
    """Keysight N6705 with an N6781A module in slot ``channel``.

    ``marker_level_v``: above it, the auxiliary input counts as a high marker.
    """

    channel: int = 1
    marker_level_v: float = 1.5

    def __post_init__(self) -> None:
        _between("channel", self.channel, 1, 4)
        _between("marker_level_v", self.marker_level_v, 0.1, 5.0)


@dataclass(frozen=True)
class KeithleyDmm6500Options:
    """Keithley DMM6500 in the board's supply, marker at EXT TRIG IN.

    ``supply_v``: at the board, as measured with a voltmeter (it measures the current alone).
    ``marker_latency_us``: the most that may pass from an edge to the change of buffers; no manual
    has it, docs/meters.md tells how to find it.
    """

    supply_v: float
    marker_latency_us: float = 50.0

    def __post_init__(self) -> None:
        _between("supply_v", self.supply_v, 0.5, 60.0)
        _between("marker_latency_us", self.marker_latency_us, 0.0, 1000.0)


@dataclass(frozen=True)
class OscilloscopeOptions:
    """Shunt on channel 1, marker on channel 2.

    ``shunt_ohms``: between supply and board. ``supply_v``: before the shunt, as measured with a
    voltmeter. ``marker_level_v``: above it, channel 2 counts as a high marker.
    """

    shunt_ohms: float
    supply_v: float
    marker_level_v: float = 1.5

    def __post_init__(self) -> None:
        _between("shunt_ohms", self.shunt_ohms, 1e-3, 1e3)
        _between("supply_v", self.supply_v, 0.5, 60.0)
        _between("marker_level_v", self.marker_level_v, 0.1, 5.0)


MeterOptions = (
    Ppk2Options
    | Lpm01aOptions
    | JoulescopeOptions
    | KeysightN6705COptions
    | KeithleyDmm6500Options
    | OscilloscopeOptions
)

OPTIONS: dict[str, type[MeterOptions]] = {
    "ppk2": Ppk2Options,
    "lpm01a": Lpm01aOptions,
    "joulescope": JoulescopeOptions,
    "keysight_n6705c": KeysightN6705COptions,
    "keithley_dmm6500": KeithleyDmm6500Options,
    "keysight_infiniivision": OscilloscopeOptions,
    "rigol_ds1000z": OscilloscopeOptions,
    "siglent_sds1000xe": OscilloscopeOptions,
}


def _between(key: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise RigError(f"{key}: {value:g} is not from {least:g} to {most:g}")


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise RigError(f"{key}: {value!r} is none of: {', '.join(known)}")
