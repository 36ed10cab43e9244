"""The history: what is accepted comes back, whole or not at all, and origins never mix."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hil.core.cost import Interval
from hil.core.errors import DataError, JournalError
from hil.core.provenance import Origin, Provenance
from hil.core.series import NightCost, Quantity, Series, Verdict
from hil.run.history import BY_NIGHTLY, History

ROOT = Path(__file__).parents[2]
ORIGIN = Provenance(
    Origin.SIMULATED, Origin.MODELLED, "gap8", "chip", 150_000_000, "zig", "ab" * 32, "net",
    "cd" * 32, "model 1", "meter 1", "rig-1", 1,
)  # fmt: skip


def cost(
    part: str = "layer a",
    median: float = 1000.0,
    quantity: Quantity = Quantity.CYCLES,
    origin: Provenance = ORIGIN,
) -> NightCost:
    value = Interval(median, median - 1, median + 2, 20, 0.96)
    return NightCost(Series.of(origin, part, quantity), value, origin)


def all_of(history: History):
    return history.accepted("gap8", "rig-1", "cd" * 32, "zig")


def test_nights_come_back_in_order(tmp_path):
    with History(tmp_path / "sub" / "h.sqlite") as history:
        for median, verdict in ((1000.0, Verdict.NEW), (1001.0, Verdict.WITHIN_NOISE)):
            history.accept("t", "run", [(cost(median=median), verdict)])
    with History(tmp_path / "sub" / "h.sqlite") as history:
        ((series, nights),) = all_of(history).items()
    assert series == cost().series
    assert [n.value for n in nights] == [cost(median=m).value for m in (1000.0, 1001.0)]
    assert [n.verdict for n in nights] == [Verdict.NEW, Verdict.WITHIN_NOISE]
    assert nights[0].night < nights[1].night


def test_other_conditions_are_another_series(tmp_path):
    other = replace(ORIGIN, timing_model="model 2")
    with History(tmp_path / "h") as history:
        history.accept("t", "r", [(cost(), Verdict.NEW)])
        history.accept("t", "r", [(cost(origin=other), Verdict.NEW)])
        assert sorted(len(nights) for nights in all_of(history).values()) == [1, 1]


@pytest.mark.parametrize(
    ("quantity", "change"),
    [
        (Quantity.CYCLES, {"cycles_origin": Origin.MEASURED, "timing_model": "the chip"}),
        (Quantity.ENERGY, {"energy_origin": Origin.MEASURED, "meter": "a real one"}),
    ],
)
def test_origins_never_mix_and_nothing_of_that_night_stays(tmp_path, quantity, change):
    with History(tmp_path / "h") as history:
        history.accept("t", "r", [(cost(quantity=quantity), Verdict.NEW)])
        mixed = cost(quantity=quantity, origin=replace(ORIGIN, **change))
        with pytest.raises(DataError, match="tonight's value is measured"):
            history.accept("t", "r", [(cost("layer b"), Verdict.NEW), (mixed, Verdict.NEW)])
        assert history.nights() == 1
        assert [series.part for series in all_of(history)] == ["layer a"]


WRITER = """
import sys
from pathlib import Path
from hil.core.series import Verdict
from hil.run.history import History
from tests.run.test_history import cost

with History(Path(sys.argv[1])) as history:
    for night in range(100_000):
        costs = [(cost(f"layer {i}", 1000.0 + night), Verdict.NEW) for i in range(40)]
        history.accept("t", str(night), costs)
        print(night, flush=True)
"""


@pytest.mark.parametrize("nights", [1, 4])
def test_a_writer_killed_at_any_moment_leaves_whole_nights(tmp_path, nights):
    path = tmp_path / "h.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert writer.stdout is not None
    for _ in range(nights):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)  # in the middle of the next transactions
    told = nights + len(writer.stdout.read().splitlines())
    writer.wait()
    with History(path) as history:
        kept = history.nights()
        assert kept >= told  # what was reported as stored is stored
        found = all_of(history)
        assert len(found) == 40
        assert {len(values) for values in found.values()} == {kept}
        history.accept("t", "r", [(cost(), Verdict.NEW)])


def test_a_night_cut_off_in_its_middle_leaves_nothing(tmp_path):
    class Cut(BaseException):
        pass

    def costs():
        yield cost("layer a"), Verdict.NEW
        raise Cut

    with History(tmp_path / "h") as history:
        with pytest.raises(Cut):
            history.accept("t", "r", costs())
        assert history.nights() == 0 and not all_of(history)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b"not a database, but long enough" * 100), "not a database"),
        (lambda path: alter(path, "PRAGMA user_version = 7"), "schema 7, this version reads 1"),
        (lambda path: alter(path, "PRAGMA application_id = 5"), "another program's"),
        (lambda path: overwrite(path), "damaged|malformed"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, damage, says):
    path = tmp_path / "h.sqlite"
    with History(path) as history:
        for night in range(30):
            costs = [(cost(f"layer {i}"), Verdict.NEW) for i in range(30)]
            history.accept("t", str(night), costs)
    damage(path)
    with pytest.raises(JournalError, match=says) as caught, History(path) as history:
        all_of(history)
    assert "h.sqlite" in str(caught.value)


def alter(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    db.execute(statement)
    db.close()


def overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def test_a_folder_instead_of_a_file(tmp_path):
    with pytest.raises(JournalError, match="cannot be used"):
        History(tmp_path)


def test_quarantine(tmp_path):
    with History(tmp_path / "h") as history:
        history.quarantine("rig-1", "monday", "silent")
        history.quarantine("rig-1", "tuesday", "still silent")
        history.quarantine("rig-2", "monday", "on loan", "ann")
        entries = history.quarantined()
        assert (entries["rig-1"].since, entries["rig-1"].reason) == ("monday", "still silent")
        assert not entries["rig-1"].by_person and entries["rig-2"].by_person
        assert history.lift("rig-1") and not history.lift("rig-1")
        assert list(history.quarantined()) == ["rig-2"]


def test_the_nightly_leaves_a_persons_quarantine_alone(tmp_path):
    with History(tmp_path / "h") as history:
        history.quarantine("rig-1", "monday", "silent")
        history.quarantine("rig-1", "tuesday", "on loan", "ann")
        history.quarantine("rig-1", "tuesday", "silent again")
        entry = history.quarantined()["rig-1"]
        assert (entry.reason, entry.placed_by, entry.by_person) == ("on loan", "ann", True)
        assert not history.lift("rig-1", BY_NIGHTLY) and history.quarantined()
        assert history.lift("rig-1", "ann") and not history.quarantined()
