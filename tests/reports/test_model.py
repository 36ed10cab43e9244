"""Report data survives JSON whole, and damaged data is refused with its place."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hil.core.errors import DataError
from reports.model import DecisionRow, ReportData, Target, WaveformView
from reports.render import load_data, save_data
from tests.reports.factory import report_data


@pytest.fixture(scope="module")
def data():
    return report_data()


@pytest.fixture
def plain(data):
    """As it would lie in a file."""
    return json.loads(json.dumps(data.to_dict(), allow_nan=False))


def _without_waveforms(data):
    return replace(data, boards=tuple(replace(board, waveform=None) for board in data.boards))


def test_round_trip_through_a_file(data, tmp_path):
    back = load_data(save_data(data, tmp_path / "deep" / "report.json"))
    assert _without_waveforms(back) == _without_waveforms(data)
    for board in data.boards:
        wave = back.board(board.name).waveform
        assert wave.current_a.dtype == board.waveform.current_a.dtype
        np.testing.assert_array_equal(wave.current_a, board.waveform.current_a)
        np.testing.assert_array_equal(wave.marker, board.waveform.marker)
        assert wave.windows == board.waveform.windows


def test_missing_samples_survive(data):
    current = np.array([0.1, np.nan, 0.3], np.float32)
    wave = replace(data.boards[0].waveform, current_a=current, marker=np.zeros(3, bool), windows=())
    holed = replace(data, boards=(replace(data.boards[0], waveform=wave), data.boards[1]))
    back = ReportData.from_dict(json.loads(json.dumps(holed.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(back.boards[0].waveform.current_a, current)


def test_whole_numbers_are_read_where_floats_belong(plain):
    plain["boards"][0]["layers"][0]["compute_cycles"] = 400
    row = ReportData.from_dict(plain).boards[0].layers[0]
    assert isinstance(row.compute_cycles, float)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.update(schema=99), "schema 99, this reads 1"),
        (lambda d: d["boards"][1]["layers"][3].pop("macs"), r"boards\[1\].layers\[3\]: field macs"),
        (lambda d: d["boards"][0].update(colour="red"), r"boards\[0\]: unknown field colour"),
        (lambda d: d["boards"][0]["layers"][0].update(macs="x"), "macs: int expected, got 'x'"),
        (lambda d: d["boards"][0]["layers"][0].update(macs=True), "macs: int expected, got True"),
        (lambda d: d["decisions"][0].update(target="speed"), "'speed' is none of latency, energy"),
        (
            lambda d: d["boards"][0]["waveform"]["current_a"].update(zlib="!"),
            "waveform.current_a: not a packed array",
        ),
        (
            lambda d: d["decisions"][0].update(board="esp32"),
            "for board 'esp32'; known: stm32f746, gap8",
        ),
        (
            lambda d: d["slicing"]["slices"][2].update(bits="six"),
            r"slicing.slices\[2\].bits: int expected, got 'six'",
        ),
        (lambda d: d["slicing"].update(slices=[]), "without a single slice"),
        (lambda d: d["decisions"][0].update(radio="5G"), "for radio '5G'; known: BLE"),
    ],
)
def test_damage_is_refused_by_place(plain, damage, message):
    damage(plain)
    with pytest.raises(DataError, match=message):
        ReportData.from_dict(plain)


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(DataError, match=r"report\.json: cannot be read"):
        load_data(path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"report\.json: not a JSON file"):
        load_data(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="this is a list"):
        load_data(path)


def test_a_decision_has_a_split_or_a_reason():
    with pytest.raises(DataError, match="either a split or why"):
        DecisionRow("gap8", "BLE", 250.0, Target.LATENCY, None)


def test_current_and_marker_are_sampled_together():
    with pytest.raises(DataError, match="two equal rows"):
        WaveformView(1e5, 0.0, 3.3, np.zeros(4), np.zeros(3, bool), (), "m", "f", "s")
    with pytest.raises(DataError, match="leave the waveform out"):
        WaveformView(1e5, 0.0, 3.3, np.zeros(0), np.zeros(0, bool), (), "m", "f", "s")


def test_two_boards_of_one_title_are_refused(data):
    # Charts tell boards apart by title: one bar would hide the other.
    twin = replace(data.boards[1], title=data.boards[0].title)
    with pytest.raises(DataError, match="different titles"):
        replace(data, boards=(data.boards[0], twin))


def test_two_boards_of_one_name_are_refused(data):
    with pytest.raises(DataError, match="different names"):
        replace(data, boards=(data.boards[0], data.boards[0]))
