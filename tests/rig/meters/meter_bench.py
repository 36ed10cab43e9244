"""What the driver suite runs on: simulated instruments or, named by the environment, a real one.

    HIL_METER_KIND      kind of meter, as in a rig file
    HIL_METER_RESOURCE  its [meter] resource: VISA, usb:SERIAL, js220/SERIAL
    HIL_METER_OPTIONS   its [meter.options] as TOML, with ";" between: shunt_ohms=0.5;supply_v=3.3
    HIL_METER_RANGE_A   range to use (default: the kind's here)
    HIL_METER_LOAD_A    a steady current that flows, in amperes; without it no current is checked
    HIL_METER_GAIN, HIL_METER_OFFSET_A
                        its accuracy for that check, as a part of the reading and in amperes

With a real instrument the tests that need a known profile or a fault are skipped, with the reason.
A kind that is not in KINDS is an error: nothing is known here of its rates and ranges.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from hil.core.provenance import Origin
from hil.rig.meter_options import (
    OPTIONS,
    JoulescopeOptions,
    KeithleyDmm6500Options,
    KeysightN6705COptions,
    Lpm01aOptions,
    MeterOptions,
    OscilloscopeOptions,
    Ppk2Options,
)
from hil.rig.meters import open_meter
from hil.rig.meters.joulescope import Joulescope
from hil.sim.chip import MarkerEdge
from hil.sim.instruments import make_instrument
from hil.sim.instruments.joulescope import SimulatedLibrary
from hil.sim.instruments.lpm01a import Lpm01aSimulator
from hil.sim.instruments.power_trace import PowerTrace
from hil.sim.instruments.ppk2 import Ppk2Simulator
from hil.sim.instruments.pty_server import PtyServer
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
    """A meter, how fast it is to sample, and how accurate it is.

    ``gain`` is a part of the reading, ``offset_a`` is at ``range_a``: the maker's for ``scpi``
    meters, those of the simulator for the others. ``small_range_a`` is one that the profile leaves
    behind, nan for meters that choose their range by themselves. ``scale``: of the profile's power.
    ``lead_s``: what a record holds of before the board may be told to work.
    """

    name: str
    options: MeterOptions | None
    sample_rate_hz: float
    range_a: float
    small_range_a: float
    gain: float
    offset_a: float
    scpi: bool = True
    scale: float = 1.0
    lead_s: float = 0.0
    path: str = ""  # a Joulescope's, for the library

    @property
    def title(self) -> str:
        return f"{self.name}-{self.path.split('/')[1]}" if self.path else self.name


KINDS = (
    Kind("keysight_n6705c", KeysightN6705COptions(), 49_000, 0.1, 1e-3, 1e-3, 1e-5),
    Kind("keithley_dmm6500", KeithleyDmm6500Options(SUPPLY_V), 100_000, 0.1, 0.01, 1e-3, 1e-5,
         lead_s=0.02),
    Kind("keysight_infiniivision", SCOPE, 200_000, 0.08, 0.008, 0.02, 1.6e-3),
    Kind("rigol_ds1000z", SCOPE, 200_000, 0.08, 0.008, 0.03, 1.6e-3),
    Kind("siglent_sds1000xe", SCOPE, 200_000, 0.08, 0.008, 0.03, 1.6e-3),
    Kind("ppk2", Ppk2Options(SUPPLY_V), 100_000, 0.1, math.nan, 0.01, 1e-4, False),
    Kind("lpm01a", Lpm01aOptions(SUPPLY_V, "events"), 5_000, 0.05, math.nan, 1e-3, 1e-6, False,
         0.5),
    Kind("joulescope", JoulescopeOptions(), 100_000, 0.08, math.nan, 1e-4, 1e-6, False,
         path="u/js220/001234"),
    Kind("joulescope", JoulescopeOptions(), 100_000, 0.08, 0.008, 1e-4, 1e-6, False,
         path="u/js110/004321"),
)  # fmt: skip


@dataclass
class Bench:
    """A meter to test. ``server`` is a simulated SCPI instrument's; ``real``: not simulated."""

    kind: Kind
    resource: str
    server: InstrumentServer | None = None
    real: bool = False
    trace: PowerTrace | None = None  # of a simulated Joulescope
    opened: list = field(default_factory=list)
    libraries: list[SimulatedLibrary] = field(default_factory=list)

    def meter(self, kind: str = "", timeout_s: float = TIMEOUT_S, slowdown: float = 50.0):  # type: ignore[no-untyped-def]
        """A driver, of another ``kind`` if asked; closed after the test."""
        name = kind or self.kind.name
        options = self.kind.options if not kind else default_options(kind)
        if self.trace is not None:
            meter = Joulescope(
                self.resource, timeout_s, slowdown, options, self._library, Origin.MODELLED
            )  # fmt: skip
        else:
            meter = open_meter(name, self.resource, timeout_s, slowdown, options)
        self.opened.append(meter)
        return meter

    def _library(self) -> SimulatedLibrary:
        assert self.trace is not None
        self.libraries.append(SimulatedLibrary(self.trace, self.kind.path))
        return self.libraries[-1]

    def configured(self):  # type: ignore[no-untyped-def]
        meter = self.meter()
        meter.configure(self.kind.sample_rate_hz, self.kind.range_a)
        return meter

    def read_armed(self, meter, duration_s: float):  # type: ignore[no-untyped-def]
        """Arm, let a simulated board begin its profile, read."""
        meter.arm(duration_s)
        if self.libraries:  # others begin when they are armed
            self.libraries[-1].start_board()
        return meter.read()

    @staticmethod
    def hurry(meter, timeout_s: float) -> None:  # type: ignore[no-untyped-def]
        """From here on the meter waits for ``timeout_s`` only: it is going to wait in vain."""
        meter._timeout_s = meter._link.timeout_s = timeout_s
        meter._slowdown = 1.0

    def needs_profile(self) -> None:
        """Skips the test when the meter is a real one."""
        if self.real:
            pytest.skip("needs a simulated instrument: a known profile")

    @property
    def simulated(self) -> InstrumentServer:
        """The simulated SCPI instrument's server, for a fault; else the test is skipped."""
        if self.server is None:
            pytest.skip("needs a simulated instrument: a fault to order")
        return self.server

    @property
    def windows(self) -> list[tuple[float, float]]:
        """Seconds and watts of the profile's marked windows."""
        return [(s, w * self.kind.scale) for s, w, marked in PROFILE if marked]


@contextmanager
def simulated_bench(kind: Kind, folder: Path) -> Iterator[Bench]:
    """A meter that is simulated at its own kind of wire."""
    profile = trace([(s, w * kind.scale, marked) for s, w, marked in PROFILE])
    if kind.scpi:
        instrument = make_instrument(kind.name, SUPPLY_V, seed=5)
        with InstrumentServer(instrument, profile) as server:
            yield Bench(kind, server.resource, server)
    elif kind.path:
        yield Bench(kind, kind.path, trace=profile)
    else:
        kit = Ppk2Simulator(profile, 5) if kind.name == "ppk2" else Lpm01aSimulator(pulses(profile))
        pty = PtyServer(kit, folder / "meter")
        yield Bench(kind, str(folder / "meter"))
        pty.close()


def pulses(profile: PowerTrace) -> PowerTrace:
    """What the circuit at an LPM01A's D7 makes of the marker: a low pulse at each edge."""
    edges = [
        pulse
        for edge in profile.edges
        for pulse in (MarkerEdge(edge.time_s, False), MarkerEdge(edge.time_s + 5e-6, True))
    ]
    return PowerTrace(profile.power_w, profile.bin_s, profile.supply_v, edges)


def default_options(kind: str) -> MeterOptions | None:
    options = OPTIONS.get(kind)
    if options is None:
        return None
    if options is KeithleyDmm6500Options:
        return KeithleyDmm6500Options(SUPPLY_V)
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


def hardware() -> Bench | None:
    """The real meter that the environment names; UsageError for one that is not in KINDS."""
    name, resource = os.environ.get("HIL_METER_KIND"), os.environ.get("HIL_METER_RESOURCE")
    if not name and not resource:
        return None
    fitting = [kind for kind in KINDS if kind.name == name]
    if not resource or not fitting:
        known = ", ".join(sorted({kind.name for kind in KINDS}))
        raise pytest.UsageError(
            f"HIL_METER_KIND {name!r} at HIL_METER_RESOURCE {resource!r}: both are needed, and "
            f"the suite knows the kinds {known}"
        )
    models = [kind for kind in fitting if kind.path.split("/")[1:2] == resource.split("/")[:1]]
    like = (models or fitting)[0]
    told = tomllib.loads(os.environ.get("HIL_METER_OPTIONS", "").replace(";", "\n"))
    options = OPTIONS[name](**told) if name in OPTIONS else None
    unknown = "nan"  # of what is on the desk; a simulator's accuracy says nothing about it
    kind = replace(
        like,
        options=options,
        range_a=float(os.environ.get("HIL_METER_RANGE_A", like.range_a)),
        gain=float(os.environ.get("HIL_METER_GAIN", like.gain if like.scpi else unknown)),
        offset_a=float(
            os.environ.get("HIL_METER_OFFSET_A", like.offset_a if like.scpi else unknown)
        ),
    )
    return Bench(kind, resource, real=True)
