"""One warm board for all trials of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.loop.faults.bench import WarmBench, warm_bench
from hil.loop.faults.trial import Baseline, baseline


@pytest.fixture(scope="package")
def bench() -> Iterator[WarmBench]:
    with warm_bench("stm32f746") as bench:
        yield bench


@pytest.fixture(scope="package")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the undisturbed run lies, once ``base`` has been asked for."""
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="package")
def base(bench: WarmBench, undisturbed: Path) -> Baseline:
    return baseline(bench, undisturbed)
