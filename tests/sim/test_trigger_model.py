"""The trigger model of Keithley's instruments, block by block, worked out by hand."""

from __future__ import annotations

import math

import pytest

from hil.sim.instruments.trigger_model import Block, TriggerModel

DT_S = 1e-3
LOW, HIGH = Block("digitize", "low", math.inf), Block("digitize", "high", math.inf)
WAIT, WAIT_FORGETFUL = Block("wait"), Block("wait", clears=True)


def model(*blocks: Block, switch_s: float = 0.0) -> TriggerModel:
    """Blocks 1, 2 and so on, started at 0; readings begin with the sample clock."""
    numbered = dict(enumerate(blocks, start=1))
    return TriggerModel(numbered, 0.0, DT_S, 0.0, switch_s)


def alternating(wait: Block, switch_s: float = 0.0) -> TriggerModel:
    return model(LOW, wait, HIGH, wait, Block("branch", target=1), switch_s=switch_s)


def stretches(run: TriggerModel) -> list[tuple[str, float, float]]:
    return [(s.buffer, round(s.start_s, 6), round(s.end_s, 6)) for s in run.stretches]


def test_every_edge_changes_the_buffer() -> None:
    run = alternating(WAIT_FORGETFUL, switch_s=40e-6)
    for edge_s in (0.01, 0.03, 0.05):
        run.edge(edge_s, 8e-6)
    run.abort(0.06)
    assert run.state == "ABORTED" and not run.running
    assert stretches(run) == [
        ("low", 0.0, 0.010008),
        ("high", 0.010048, 0.030008),
        ("low", 0.030048, 0.050008),
        ("high", 0.050048, 0.06),
    ]


def test_an_edge_while_the_buffer_changes_is_forgotten() -> None:
    """The level then is not what the buffer says, and stays wrong."""
    run = alternating(WAIT_FORGETFUL, switch_s=40e-6)
    for edge_s in (0.01, 0.010020, 0.03):
        run.edge(edge_s, 0.0)
    run.abort(0.04)
    assert [name for name, *_ in stretches(run)] == ["low", "high", "low"]


def test_two_waits_that_remember_fall_through() -> None:
    """The edge that ended the first is remembered by the second, and so on at every edge."""
    run = alternating(WAIT)
    run.edge(0.01, 0.0)
    run.advance(0.02)
    run.edge(0.03, 0.0)
    run.abort(0.04)
    assert [name for name, *_ in stretches(run)][:3] == ["low", "high", "low"]
    assert stretches(run)[1][1] == stretches(run)[1][2] == 0.01


def test_a_wait_passes_at_an_edge_of_before_unless_it_clears() -> None:
    counted = Block("digitize", "low", 10)
    for wait, state in ((WAIT, "IDLE"), (WAIT_FORGETFUL, "WAITING")):
        run = model(counted, wait)
        run.edge(0.005, 0.0)  # during the ten readings
        run.advance(0.011)
        assert run.state == state


def test_a_count_holds_the_model_and_zero_ends_the_readings() -> None:
    run = model(Block("digitize", "low", 10), Block("digitize", "high", 5))
    run.advance(0.012)
    assert run.state == "RUNNING" and stretches(run)[0] == ("low", 0.0, 0.01)
    run.advance(0.02)
    assert (run.state, run.now_s) == ("IDLE", pytest.approx(0.015))
    assert [s.count(1.0, DT_S) for s in run.stretches] == [10, 5]

    run = model(LOW, WAIT, Block("digitize", "low", 0), WAIT)
    run.edge(0.0105, 0.0)
    run.advance(0.03)
    assert run.stretches[0].count(1.0, DT_S) == 11  # the reading under way is completed
    assert len(run.stretches) == 1


def test_readings_in_the_background_end_with_the_model() -> None:
    run = model(LOW)
    assert run.state == "IDLE" and run.stretches[0].count(1.0, DT_S) == 0


def test_complete_readings_so_far() -> None:
    run = model(LOW, WAIT)
    run.advance(0.0105)
    assert run.stretches[0].count(0.0105, DT_S) == 10


def test_changing_buffers_for_ever_ends_with_the_time() -> None:
    run = model(LOW, HIGH, Block("branch", target=1))
    run.advance(1e-4)
    assert run.running and len(run.stretches) > 100


def test_blocks_that_only_jump_fail() -> None:
    run = model(Block("branch", target=1))
    assert run.state == "FAILED"


def test_buffers_cleared_and_numbers_left_out() -> None:
    blocks = {2: Block("clear", "low"), 5: LOW, 9: WAIT}
    run = TriggerModel(blocks, 1.0, DT_S, 0.5, 0.0)
    assert run.cleared == {"low"} and stretches(run) == [("low", 1.0005, math.inf)]
