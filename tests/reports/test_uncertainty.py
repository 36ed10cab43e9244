"""The section of uncertainty budgets, by hand-made numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hil.core.overhead import Overhead
from hil.core.uncertainty import Term, UncertaintyBudget
from reports.model import BoardReport, Loss, MeterCalibration, ReportData
from reports.views import uncertainty
from tests.reports.factory import report_data

# 3 and 4 make 5: shares of 64 and 36 %.
BUDGET = UncertaintyBudget(
    1000.0,
    (Term("noise", 3.0, "Student's t", "6 repeats"), Term("gain", 4.0, "uniform", "0.7 %")),
)


@pytest.fixture(scope="module")
def data() -> ReportData:
    whole = report_data()
    first, *others = whole.boards
    return replace(whole, boards=(replace(first, network_budget=BUDGET), *others))


def test_the_budget_as_a_table(data: ReportData) -> None:
    table = uncertainty.section(data).tables[0]
    rows = [[cell.text for cell in row.cells] for row in table.rows]
    assert rows == [
        ["gain", "4.00", "uniform", "64.0", "0.7 %"],
        ["noise", "3.00", "Student's t", "36.0", "6 repeats"],
        ["combined standard", "5.00", "normal", "", "root of the sum of squares"],
        ["expanded, k = 2", "10.0", "normal", "", "about 95 %"],
    ]


def test_the_active_energy_has_a_budget_and_a_sentence_of_its_own(data: ReportData) -> None:
    first, *others = data.boards
    active = UncertaintyBudget(600.0, (Term("base power", 6.0, "Student's t", "6 gaps"),))
    layers = tuple(replace(row, active_budget=active) for row in first.layers)
    board = replace(first, network_active_budget=active, layers=layers)
    made = uncertainty.section(replace(data, boards=(board, *others)))
    assert "Of it 600.0 µJ ± 2.0 % are active" in made.lead[0].replace("\u00a0", " ")
    assert made.tables[1].rows[0].cells[0].text == "base power"
    assert made.tables[2].rows[0].cells[-2].text == "600"
    assert made.tables[2].rows[0].cells[-1].text == "12.0"


def test_the_sentence_tells_what_to_mend(data: ReportData) -> None:
    says = uncertainty.section(data).lead[0]
    assert says.replace("\u00a0", " ").endswith(
        "The network takes 1.000 mJ ± 1.0 % (k = 2, about 95 %), uncertain mostly by gain."
    )


def test_a_meter_without_limits_is_said(data: ReportData) -> None:
    boards = tuple(_bare(board) for board in data.boards)
    made = uncertainty.section(replace(data, boards=boards))
    assert made.tables == ()
    assert all("does not state the meter's accuracy" in sentence for sentence in made.lead[::3])


def _bare(board: BoardReport) -> BoardReport:
    layers = tuple(replace(row, energy_budget=None) for row in board.layers)
    return replace(board, meter_accuracy="", network_budget=None, layers=layers)


def test_what_measuring_adds_is_said(data: ReportData) -> None:
    first, *others = data.boards
    slow = Overhead(42, 34, 22, 12.7, 0.8, 20)
    for overhead, says in (
        (None, "no empty windows were measured"),
        (slow, "42.0 cycles a window (marker) and 34.0 a pass (call and counter) are subtracted"),
        (slow, "a meter sample is longer than an empty window"),
        (replace(slow, energy_uj=5.0), "the meter saw 5.00 µJ in an empty window"),
    ):
        boards = (replace(first, overhead=overhead), *others)
        told = replace(data, boards=boards)
        assert says in uncertainty.section(told).lead[1].replace("\u00a0", " ")


def test_accepted_losses_are_shown_and_only_they(data: ReportData) -> None:
    first, *others = data.boards
    assert not any("lost meter samples" in says for says in uncertainty.section(data).lead)
    losses = (Loss("energy of every layer, image 0", 12, 0.5), Loss("another", 3, 0.25))
    told = replace(data, boards=(replace(first, losses=losses), *others))
    made = uncertainty.section(told)
    assert "15 lost meter samples in 2 acquisitions were accepted" in made.lead[3]
    assert [cell.text for cell in made.tables[0].rows[1].cells] == ["another", "3", "0.250"]


def test_the_calibration_is_shown_with_its_age(data: ReportData) -> None:
    first, *others = data.boards
    made = MeterCalibration("2026-11-25", "2027-11-25", "0123456789ab", 3, 0, 12)
    for calibration, says in (
        (None, "taken as they are, without a calibration"),
        (made, "of 2026-11-25 (SHA-256 0123456789ab), 3 days old when the last energy was"),
        (made, "valid until 2027-11-25"),
        (replace(made, expired=5), "EXPIRED: 5 of 12 energies were measured after its last day"),
        (replace(made, expires=""), "an older run that does not tell when it expires"),
    ):
        told = replace(data, boards=(replace(first, calibration=calibration), *others))
        assert says in uncertainty.section(told).lead[2]


def test_all_of_it_survives_json(data: ReportData) -> None:
    board = replace(
        data.boards[0],
        waveform=None,  # the one thing that is large
        network_active_budget=BUDGET,
        overhead=Overhead(42, 34, 22, 12.7, 0.8, 20, 5.0, 0.1),
        losses=(Loss("energy of every layer, image 0", 12, 0.5),),
        calibration=MeterCalibration("2026-11-25", "", "0123456789ab", 3, 0, 12),
    )
    others = tuple(replace(other, waveform=None) for other in data.boards[1:])
    bare = replace(data, boards=(board, *others))
    assert ReportData.from_dict(bare.to_dict()).boards == (board, *others)
