"""Do the layers explain the network? Their sum beside a measurement of the whole."""

from __future__ import annotations

from typing import Any

import altair as alt

from hil.measure.reconcile import AGREE_PCT, TOLERATE_PCT, Agreement, Reconciliation
from reports import charts, text
from reports.model import BoardReport, ReportData
from reports.views.parts import (
    Cell,
    Figure,
    Panel,
    Row,
    Section,
    Table,
    columns,
    median,
    number,
    spread,
    word,
)

VERDICTS = {
    Agreement.AGREES: ("agrees", "✓ the layers explain the network", "good"),
    Agreement.DIFFERS: ("differs", "~ usable, with the difference in mind", "warn"),
    Agreement.CONTRADICTS: ("contradicts", "✗ one of the two is wrong", "bad"),
}


def checks(data: ReportData) -> list[tuple[BoardReport, str, Reconciliation]]:
    """(board, quantity, check) of all that were measured both ways."""
    found = []
    for board in data.boards:
        for quantity, check in (("cycles", board.cycles_check), ("energy", board.energy_check)):
            if check is not None:
                found.append((board, quantity, check))
    return found


def section(data: ReportData) -> Section:
    found = checks(data)
    title = "Sum of the layers"
    if not found:
        return Section("checks", title, ("The whole network was not measured by itself.",))
    figure = Figure(
        id="f-checks",
        title="Difference between the network and the sum of its layers",
        sentence=_says(found),
        panels=(Panel("c-checks", "", _chart(found)),),
        table=_table(found),
        note=f"Inside ± {AGREE_PCT:g} % (shaded) the layers explain the network; beyond "
        f"± {TOLERATE_PCT:g} % one of the two measurements is wrong. A layer's own counting costs "
        "some cycles, so a small difference is expected.",
        wide=True,
    )
    return Section("checks", title, (), (figure,))


def _says(found: list[tuple[BoardReport, str, Reconciliation]]) -> str:
    parts = [
        f"{quantity} of the {board.title} by {_pct(check)}{text.NBSP}% ({check.verdict})"
        for board, quantity, check in found
    ]
    return f"The network, measured in one piece, differs from the sum: {text.listed(parts)}."


def _pct(check: Reconciliation) -> str:
    return text.signed(check.difference_pct, f"{abs(check.difference_pct):.2f}")


def _table(found: list[tuple[BoardReport, str, Reconciliation]]) -> Table:
    labels = (
        "board",
        "quantity",
        "network",
        "± ",
        "sum of layers",
        "±",
        "difference",
        "%",
        "verdict",
    )
    rows = []
    for board, quantity, check in found:
        word_, hint, tone = VERDICTS[check.verdict]
        unit = "cycles" if quantity == "cycles" else "µJ"
        cells = (
            word(board.title),
            word(f"{quantity} ({unit})"),
            median(check.network, significant=6),
            spread(check.network),
            median(check.layers_sum, significant=6),
            spread(check.layers_sum),
            number(
                check.difference,
                text.signed(check.difference, text.digits(abs(check.difference))),
            ),
            number(check.difference_pct, _pct(check)),
            Cell(f"{hint[0]} {word_}", word_, hint, tone),
        )
        rows.append(Row(cells))
    words = ("board", "quantity", "verdict")
    return Table("t-checks", "Both measurements", columns(*labels, words=words), tuple(rows), True)


def _chart(found: list[tuple[BoardReport, str, Reconciliation]]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {
            "what": f"{board.title}, {quantity}",
            "pct": round(check.difference_pct, 3),
            "label": _pct(check),
            "verdict": VERDICTS[check.verdict][0],
        }
        for board, quantity, check in found
    ]
    reach = max(TOLERATE_PCT + 1, *(abs(row["pct"]) * 1.1 for row in rows))
    x = alt.X(
        "pct:Q",
        scale=alt.Scale(domain=[-reach, reach], nice=False),
        axis=alt.Axis(tickCount=9),
        title="network − layers, % of network",
    )
    y = alt.Y("what:N", sort=[row["what"] for row in rows], title=None)
    band = (
        alt.Chart(charts.named("agree"))
        .mark_rect(opacity=0.18)
        .encode(x=alt.X("from:Q"), x2="to:Q")
    )
    limits = alt.Chart(charts.named("limits")).mark_rule(strokeDash=[4, 4]).encode(x="at:Q")
    points = (
        alt.Chart(charts.named("checks"))
        .mark_point(filled=True, size=90)
        .encode(x=x, y=y, tooltip=[alt.Tooltip("what:N"), alt.Tooltip("pct:Q"), "verdict:N"])
    )
    values = points.mark_text(dy=-12).encode(text="label:N")
    return charts.spec(
        alt.layer(band, limits, points, values),
        40 * len(rows) + 10,
        checks=rows,
        agree=[{"from": -AGREE_PCT, "to": AGREE_PCT}],
        limits=[{"at": -TOLERATE_PCT}, {"at": TOLERATE_PCT}],
    )
