"""What the driver suite runs on: simulated instruments or, named by the environment, a real one.

    HIL_METER_KIND      kind of meter, as in a rig file
    HIL_METER_RESOURCE  its VISA resource
    HIL_METER_OPTIONS   its [meter.options] as TOML, with ";" between: shunt_ohms=0.5;supply_v=3.3
    HIL_METER_RANGE_A   range to use (default 0.1)
    HIL_METER_LOAD_A    a steady current that flows, in amperes; without it no current is checked

With a real instrument the tests that need a known profile or a fault are skipped, with the reason.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field

import numpy as np
import pytest

from hil.rig.meter_options import OPTIONS, KeysightN6705COptions, MeterOptions, OscilloscopeOptions
from hil.rig.meters import open_meter
from hil.sim.chip import MarkerEdge
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.instruments.server import InstrumentServer

SUPPLY_V = 3.3
BIN_S = 2e-6
TIMEOUT_S = 10.0  # a busy computer answers late
SCOPE = OscilloscopeOptions(shunt_ohms=0.5, supply_v=SUPPLY_V)
# (seconds, watts, marker): two marked windows with quiet before, between and after
PROFILE = (
    (0.010, 0.033, False),
    (0.020, 0.200, True),
    (0.006, 0.033, False),
    (0.0101, 0.116, True),
    (0.010, 0.033, False),
)
PROFILE_S = sum(duration_s for duration_s, _, _ in PROFILE)


@dataclass(frozen=True)
class Kind:
    """A meter, how fast it is to sample, and the accuracy its maker states.

    ``gain`` is a part of the reading, ``offset_a`` is at ``range_a``.
    """

    name: str
    options: MeterOptions | None
    sample_rate_hz: float
    range_a: float
    small_range_a: float
    gain: float
    offset_a: float


KINDS = (
    Kind("keysight_n6705c", KeysightN6705COptions(), 49_000, 0.1, 1e-3, 1e-3, 1e-5),
    Kind("keysight_infiniivision", SCOPE, 200_000, 0.08, 0.008, 0.02, 1.6e-3),
    Kind("rigol_ds1000z", SCOPE, 200_000, 0.08, 0.008, 0.03, 1.6e-3),
    Kind("siglent_sds1000xe", SCOPE, 200_000, 0.08, 0.008, 0.03, 1.6e-3),
)


@dataclass
class Bench:
    """A meter to test. ``server`` is None when it is a real one."""

    kind: Kind
    resource: str
    server: InstrumentServer | None
    opened: list = field(default_factory=list)

    def meter(self, kind: str = "", timeout_s: float = TIMEOUT_S, slowdown: float = 50.0):  # type: ignore[no-untyped-def]
        """A driver, of another ``kind`` if asked; closed after the test."""
        name = kind or self.kind.name
        options = self.kind.options if not kind else default_options(kind)
        meter = open_meter(name, self.resource, timeout_s, slowdown, options)
        self.opened.append(meter)
        return meter

    def configured(self):  # type: ignore[no-untyped-def]
        meter = self.meter()
        meter.configure(self.kind.sample_rate_hz, self.kind.range_a)
        return meter

    @staticmethod
    def hurry(meter, timeout_s: float) -> None:  # type: ignore[no-untyped-def]
        """From here on the meter waits for ``timeout_s`` only: it is going to wait in vain."""
        meter._timeout_s = meter._link.timeout_s = timeout_s
        meter._slowdown = 1.0

    @property
    def simulated(self) -> InstrumentServer:
        """The simulator's server; skips the test when the meter is a real one."""
        if self.server is None:
            pytest.skip("needs a simulated instrument: a known profile or a fault to order")
        return self.server


def default_options(kind: str) -> MeterOptions | None:
    options = OPTIONS.get(kind)
    if options is None:
        return None
    return SCOPE if options is OscilloscopeOptions else options()  # type: ignore[call-arg]


def trace(profile=PROFILE) -> PowerTrace:  # type: ignore[no-untyped-def]
    """A profile as a power trace; the last power lasts for ever."""
    power_w = np.concatenate([np.full(round(t / BIN_S), w) for t, w, _ in profile])
    ends_s = np.cumsum([0.0, *(t for t, _, _ in profile)])
    levels = [False, *(level for _, _, level in profile)]
    edges = [
        MarkerEdge(float(at_s), after)
        for at_s, before, after in zip(ends_s, levels, levels[1:], strict=False)
        if before != after
    ]
    return PowerTrace(power_w, BIN_S, SUPPLY_V, edges)


def hardware() -> tuple[Kind, str] | None:
    """The real meter that the environment names."""
    name, resource = os.environ.get("HIL_METER_KIND"), os.environ.get("HIL_METER_RESOURCE")
    if not name or not resource:
        return None
    table = tomllib.loads(os.environ.get("HIL_METER_OPTIONS", "").replace(";", "\n"))
    options = OPTIONS[name](**table) if name in OPTIONS else None
    range_a = float(os.environ.get("HIL_METER_RANGE_A", "0.1"))
    like = next((kind for kind in KINDS if kind.name == name), KINDS[0])
    return (
        Kind(
            name, options, like.sample_rate_hz, range_a, like.small_range_a, like.gain,
            like.offset_a,
        ),
        resource,
    )  # fmt: skip
