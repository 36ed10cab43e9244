"""A night for machines and for people: JUnit XML, pytest-benchmark's JSON, a table of text."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest_benchmark
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from pytest_benchmark.stats import Stats

from hil.core.cost import Interval
from hil.core.errors import DataError
from hil.core.series import NightCost, Quantity, Verdict
from hil.loop.nightly import BoardNight, Night
from hil.measure.regression import Change, Judgement

JUNIT, BENCHMARKS, SUMMARY = "junit.xml", "benchmark.json", "summary.txt"
# The suites of `pytest benchmarks/`, so that `pytest-benchmark compare` sets both side by side.
_TESTS = {
    "layer": ("layers", "benchmarks/test_layers.py::test_layer"),
    "partition": ("partitions", "benchmarks/test_partitions.py::test_partition"),
}


def write_outputs(night: Night) -> tuple[Path, ...]:
    """Write junit.xml, benchmark.json and summary.txt into the night's folder."""
    contents = {
        JUNIT: junit_xml(night),
        BENCHMARKS: json.dumps(benchmark_json(night), indent=1, allow_nan=False),
        SUMMARY: summary(night),
    }
    paths = []
    for name, text in contents.items():
        path = night.folder / name
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror}") from error
        paths.append(path)
    return tuple(paths)


# -- JUnit ----------------------------------------------------------------------------------


def junit_xml(night: Night) -> str:
    """A suite a board, a test case a layer and partition; ``time`` is the board's own.

    Failure: regressed. Error: the board failed. Skipped: gone, or kept out by a person. What was
    accepted by hand passes and says so.
    """
    xml = JUnitXml("hil nightly")
    for board in night.boards:
        suite = TestSuite(f"{board.bench}/{board.rig}")
        suite.timestamp = night.started[:19]
        suite.add_property("board", board.board)
        suite.add_property("accepted", str(board.accepted).lower())
        for case in _cases(board):
            suite.add_testcase(case)
        xml.add_testsuite(suite)
    text = xml.tostring()
    return text.decode() if isinstance(text, bytes) else text


def _cases(board: BoardNight) -> Iterator[TestCase]:
    place = f"{board.bench}.{board.rig}"
    whole = TestCase("board", place)
    if board.quarantine is not None:
        entry = board.quarantine
        reason = f"in quarantine since {entry.since} by {entry.placed_by}: {entry.reason}"
        whole.result = [Skipped(reason)]
    elif board.failure:
        whole.result = [Error(board.failure, board.failure.partition(":")[0])]
    yield whole
    parts: dict[str, list[Judgement]] = {}
    for judgement in board.judgements:
        parts.setdefault(judgement.series.part, []).append(judgement)
    seconds = {cost.series.part: _seconds(cost) for cost in board.costs if _is_cycles(cost)}
    for part, judgements in parts.items():
        case = TestCase(part, place, seconds.get(part, 0.0))
        worse = [j for j in judgements if j.verdict is Verdict.REGRESSED]
        gone = [j for j in judgements if j.verdict is Verdict.GONE]
        if worse and not board.accepted:
            case.result = [Failure("; ".join(map(in_words, worse)), Verdict.REGRESSED.value)]
        elif gone and len(gone) == len(judgements):
            case.result = [Skipped("not measured any more")]
        case.system_out = "\n".join(map(in_words, judgements))
        yield case


def _is_cycles(cost: NightCost) -> bool:
    return cost.series.quantity is Quantity.CYCLES


def _seconds(cost: NightCost) -> float:
    return cost.value.median / cost.provenance.clock_hz


# -- pytest-benchmark -----------------------------------------------------------------------


def benchmark_json(night: Night) -> dict[str, Any]:
    """What ``pytest benchmarks/ --benchmark-json`` writes: rounds in seconds of the board."""
    return {
        "machine_info": {
            "node": platform.node(),
            "processor": platform.processor(),
            "machine": platform.machine(),
            "python_implementation": platform.python_implementation(),
            "python_version": platform.python_version(),
            "system": platform.system(),
            "release": platform.release(),
        },
        "commit_info": {"id": "unknown", "project": "hil nightly", "dirty": False},
        "benchmarks": [
            _benchmark(board, cost)
            for board in night.boards
            for cost in board.costs
            if _is_cycles(cost) and cost.samples
        ],
        "datetime": night.started,
        "version": pytest_benchmark.__version__,
    }


def _benchmark(board: BoardNight, cost: NightCost) -> dict[str, Any]:
    kind, _, name = cost.series.part.partition(" ")
    group, test = _TESTS[kind]
    stats = Stats()
    for cycles in cost.samples:
        stats.update(cycles / cost.provenance.clock_hz)
    energy = _energy_uj(board, cost.series.part)
    title = f"[{board.board}-{name}]"
    return {
        "group": group,
        "name": test.rpartition("::")[2] + title,
        "fullname": test + title,
        "params": {"board": board.board, kind: name},
        "param": title[1:-1],
        "extra_info": {
            "rig": board.rig,
            "cycles": cost.value.median,
            "cycles_interval": [cost.value.lo, cost.value.hi],
            "energy_uj": energy.median if energy else None,
            "provenance": cost.provenance.to_dict(),
        },
        "options": {
            "disable_gc": False,
            "timer": "the board's cycle counter",
            "min_rounds": 1,
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": False,
        },
        "stats": {**stats.as_dict(), "iterations": 1},
    }


def _energy_uj(board: BoardNight, part: str) -> Interval | None:
    wanted = (part, Quantity.ENERGY)
    found = (c.value for c in board.costs if (c.series.part, c.series.quantity) == wanted)
    return next(found, None)


# -- text -----------------------------------------------------------------------------------


def summary(night: Night) -> str:
    """Counts a board, then every cost that is not within noise, then why the status is not 0."""
    lines = [f"{night.folder.name}, {night.started}", ""]
    for board in night.boards:
        lines.append(f"{board.rig} ({board.board}): {_state(board)}")
        told = (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.GONE)
        order = {verdict: number for number, verdict in enumerate(told)}
        changed = [j for j in board.judgements if j.verdict in order]
        changed.sort(key=lambda j: order[j.verdict])
        lines += [f"  {in_words(judgement)}" for judgement in changed]
    names = {0: "ok", 2: "regression", 3: "a bench failed"}
    lines += ["", f"status {night.status}: {names[night.status]}"]
    return "\n".join([*lines, *(f"  {reason}" for reason in night.reasons)]) + "\n"


def _state(board: BoardNight) -> str:
    if board.quarantine is not None:
        return f"in quarantine by {board.quarantine.placed_by}: {board.quarantine.reason}"
    if board.failure:
        return f"FAILED, tried again next night: {board.failure}"
    counts = Counter(judgement.verdict for judgement in board.judgements)
    text = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    return f"{text}; {'accepted' if board.accepted else 'NOT accepted'}"


def in_words(judgement: Judgement) -> str:
    """Verdict, part, tonight's value, change with its interval and what it is against."""
    series, value = judgement.series, judgement.value
    unit = "cycles" if series.quantity is Quantity.CYCLES else "uJ"
    text = f"{judgement.verdict}: {series.part}"
    if value is not None:
        text += f", {value.median:.6g} {unit}"
    change = judgement.telling
    return text if change is None else f"{text}, {_change(change)}"


def _change(change: Change) -> str:
    against = "the last night" if change.nights == 1 else f"{change.nights} nights"
    return (
        f"{change.percent:+.2f} % ({change.lo_percent:+.2f} to {change.hi_percent:+.2f}) "
        f"against {change.reference:.6g} of {against}"
    )
