"""The bench of the driver suite, one for each meter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from meter_bench import KINDS, Bench, hardware, simulated_bench


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" in metafunc.fixturenames and metafunc.module.__name__.endswith("driver_suite"):
        real, scpi_only = hardware(), "scpi" in metafunc.module.__name__
        kinds = [real.kind] if real else KINDS
        cases = [kind for kind in kinds if kind.scpi or not scpi_only]
        metafunc.parametrize("bench", cases, indirect=True, ids=[kind.title for kind in cases])


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if real := hardware():
        yield from _closing(real)
        return
    with simulated_bench(request.param, tmp_path) as bench:
        yield from _closing(bench)


def _closing(bench: Bench) -> Iterator[Bench]:
    yield bench
    for meter in bench.opened:
        meter.close()
