"""How far each energy can be trusted: the budget of the network, and of every layer in a line."""

from __future__ import annotations

from collections.abc import Iterator

from hil.core.uncertainty import COVERAGE, UncertaintyBudget
from reports import text
from reports.model import BoardReport, LayerRow, ReportData
from reports.views.parts import Cell, Row, Section, Table, columns, number, slug, whole, word

TITLE = "Energy uncertainty"


def section(data: ReportData) -> Section:
    lead = tuple(sentence for board in data.boards for sentence in _lead(board))
    tables = [table for board in data.boards for table in _tables(board)]
    return Section("uncertainty", TITLE, lead, tables=tuple(tables))


def _says(board: BoardReport) -> str:
    if not board.meter_accuracy:
        return (
            f"{board.title}: the rig file does not state the meter's accuracy ([meter.accuracy]), "
            "so no energy has an uncertainty budget; its intervals show the spread of repeats only."
        )
    budget = board.network_budget
    told = f"{board.title}: limits of the meter from {board.meter_accuracy}."
    if budget is None:
        return f"{told} The whole network was measured less than twice and has no budget."
    return (
        f"{told} The network takes {text.energy(budget.energy_uj, 4)} ± "
        f"{_percent(budget)} (k = {COVERAGE:g}, about 95 %), uncertain mostly by "
        f"{budget.largest.name}.{_active(board)}"
    )


def _active(board: BoardReport) -> str:
    budget = board.network_active_budget
    if budget is None:
        return ""
    return (
        f" Of it {text.energy(budget.energy_uj, 4)} ± {_percent(budget)} are active, above what "
        "the board draws without working."
    )


def _lead(board: BoardReport) -> Iterator[str]:
    yield _says(board)
    yield _overhead(board)
    yield _calibration(board)
    if board.losses:
        lost = sum(loss.samples for loss in board.losses)
        yield (
            f"{board.title}: {lost} lost meter samples in {len(board.losses)} acquisitions were "
            "accepted ([meter] lost_samples_per_million); the budgets of their energies tell what "
            "they may have been."
        )


def _calibration(board: BoardReport) -> str:
    """What has corrected the meter's readings, and whether it still counted."""
    made = board.calibration
    if made is None:
        return f"{board.title}: the meter's readings are taken as they are, without a calibration."
    told = (
        f"{board.title}: the meter's readings are corrected by its calibration of {made.date} "
        f"(SHA-256 {made.digest}), {made.age_days} days old when the last energy was measured"
    )
    if not made.expires:
        return f"{told}; an older run that does not tell when it expires."
    if made.expired:
        return (
            f"{told}. It had EXPIRED: {made.expired} of {made.energies} energies were measured "
            f"after its last day, {made.expires}. Calibrate and measure again."
        )
    return f"{told}, valid until {made.expires}."


def _overhead(board: BoardReport) -> str:
    """What measuring adds, and whether the costs still hold it."""
    overhead = board.overhead
    if overhead is None:
        return (
            f"{board.title}: no empty windows were measured, so what marker and counter add is "
            "unknown and still in every cost."
        )
    energy = (
        "a meter sample is longer than an empty window, so their energy follows from the cycles "
        "and a power between base and window"
        if overhead.energy_uj is None
        else f"the meter saw {text.energy(overhead.energy_uj, 3)} in an empty window"
    )
    return (
        f"{board.title}: {text.digits(overhead.marker_cycles, 3)} cycles a window (marker) and "
        f"{text.digits(overhead.pass_cycles, 3)} a pass (call and counter) are subtracted, by "
        f"{overhead.windows} empty windows; {energy}."
    )


def _percent(budget: UncertaintyBudget) -> str:
    return f"{text.digits(budget.expanded_pct, 2)}{text.NBSP}%"


def _tables(board: BoardReport) -> list[Table]:
    tables = [_loss_table(board)] if board.losses else []
    if board.network_budget is not None:
        tables.append(_budget_table(board, board.network_budget, "energy"))
    if board.network_active_budget is not None:
        tables.append(_budget_table(board, board.network_active_budget, "active energy"))
    rows = tuple(_layer(row, row.energy_budget) for row in board.layers if row.energy_budget)
    if rows:
        labels = (
            "layer", "name", "mean µJ", "standard µJ", "± µJ", "± %", "mostly", "base µJ",
            "active µJ", "active ± µJ",
        )  # fmt: skip
        tables.append(
            Table(
                f"t-uncertainty-{slug(board.name)}",
                f"{board.title}: every layer, one pass; base: drawn in that time without working; "
                "active: the rest",
                columns(*labels, words=("name", "mostly")),
                rows,
                sortable=True,
                row_heads=2,
            )
        )
    return tables


def _loss_table(board: BoardReport) -> Table:
    labels = ("acquisition", "lost samples", "limit in a pass, µJ")
    return Table(
        f"t-losses-{slug(board.name)}",
        f"{board.title}: acquisitions with lost samples",
        columns(*labels, words=("acquisition",)),
        tuple(
            Row((word(loss.label), whole(loss.samples), number(loss.limit_uj)))
            for loss in board.losses
        ),
    )


def _budget_table(board: BoardReport, budget: UncertaintyBudget, what: str) -> Table:
    rows = [
        Row(
            (
                word(term.name),
                number(term.standard_uj),
                word(term.distribution),
                number(share, text.digits(share, 3) if share >= 0.01 else "<0.01"),
                word(term.note),
            )
        )
        for term, share in budget.shares()
    ]
    rows.append(_total("combined standard", budget.combined_uj, "root of the sum of squares"))
    rows.append(_total(f"expanded, k = {COVERAGE:g}", budget.expanded_uj, "about 95 %"))
    labels = ("component", "standard uncertainty, µJ", "distribution", "variance, %", "from")
    return Table(
        f"t-{slug(what)}-budget-{slug(board.name)}",
        f"{board.title}: budget of the whole network's {what}, "
        f"{text.energy(budget.energy_uj, 4)} a pass",
        columns(*labels, words=("component", "distribution", "from")),
        tuple(rows),
    )


def _total(name: str, value_uj: float, note: str) -> Row:
    return Row((word(name), number(value_uj), word("normal"), Cell(""), word(note)))


def _layer(row: LayerRow, budget: UncertaintyBudget) -> Row:
    active = row.active_budget
    return Row(
        (
            whole(row.index),
            word(row.name),
            number(budget.energy_uj, text.digits(budget.energy_uj, 4)),
            number(budget.combined_uj),
            number(budget.expanded_uj),
            number(budget.expanded_pct, text.digits(budget.expanded_pct, 2)),
            word(budget.largest.name),
            number(row.base_energy_uj),
            number(active.energy_uj if active else None),
            number(active.expanded_uj if active else None),
        )
    )
