"""No cost without the right answer: every layer's output against the integer reference."""

from __future__ import annotations

import pytest

from benchmarks.conftest import Bench
from hil.core.trial import TrialKind


def test_the_campaign_completed(bench: Bench) -> None:
    """A board that failed half-way leaves costs behind; they must not look like a good night."""
    assert bench.failure is None, str(bench.failure)


def test_every_layer_is_bit_exact(bench: Bench, board: str, pytestconfig: pytest.Config) -> None:
    """Each pass was recorded as good only after all its layers' digests were compared."""
    table = bench.table(board)
    assert bench.run is not None
    passes = [t for t in bench.run.trials if t.kind is TrialKind.LAYERS and t.board == board]
    good = {t.workload.image for t in passes if t.ok and t.provenance == table.provenance}
    wrong = [t.verdict.reason for t in passes if t.verdict.who == "output"]
    assert not wrong
    assert len(good) >= pytestconfig.getoption("--images")


def test_cycle_counter_agrees_with_an_independent_timer(bench: Bench, board: str) -> None:
    table = bench.table(board)
    assert bench.run is not None
    samples = [
        sample
        for trial in bench.run.ok_trials()
        if trial.kind is TrialKind.SELF_TEST and trial.provenance == table.provenance
        for sample in trial.self_tests
    ]
    assert samples
    for sample in samples:
        assert sample.counter_cycles == pytest.approx(sample.reference_cycles, rel=0.01)
