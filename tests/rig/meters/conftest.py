"""The bench of the driver suite, one for each meter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from meter_bench import KINDS, SUPPLY_V, Bench, hardware, trace

from hil.sim.instruments import make_instrument
from hil.sim.instruments.server import InstrumentServer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" in metafunc.fixturenames and metafunc.module.__name__.endswith("driver_suite"):
        real = hardware()
        cases = [real] if real else [(kind, "") for kind in KINDS]
        metafunc.parametrize("bench", cases, indirect=True, ids=[kind.name for kind, _ in cases])


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    kind, resource = request.param
    if resource:
        yield from _closing(Bench(kind, resource, None))
        return
    with InstrumentServer(make_instrument(kind.name, SUPPLY_V, seed=5), trace()) as server:
        yield from _closing(Bench(kind, server.resource, server))


def _closing(bench: Bench) -> Iterator[Bench]:
    yield bench
    for meter in bench.opened:
        meter.close()
