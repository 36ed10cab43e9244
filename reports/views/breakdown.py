"""Where the time goes: computing, copying, everything else (the paper's figure 5b)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt

from reports import charts, text
from reports.model import BoardReport, ReportData
from reports.views.layers import badge_cycles
from reports.views.parts import (
    Column,
    Figure,
    Panel,
    Row,
    Section,
    Table,
    columns,
    number,
    slug,
    word,
)

PARTS = ("compute", "copy", "other")


@dataclass(frozen=True)
class Parts:
    """Cycles of a block or a network."""

    compute: float
    copy: float
    other: float

    @property
    def total(self) -> float:
        return self.compute + self.copy + self.other

    def share(self, part: str) -> float:
        """Fraction of the total, 0 for nothing at all."""
        return getattr(self, part) / self.total if self.total else 0.0


def blocks(board: BoardReport) -> dict[str, Parts]:
    """Cycles by block, in the order of execution."""
    found: dict[str, Parts] = {}
    for row in board.layers:
        so_far = found.get(row.block, Parts(0.0, 0.0, 0.0))
        found[row.block] = Parts(
            so_far.compute + row.compute_cycles,
            so_far.copy + row.copy_cycles,
            so_far.other + row.other_cycles,
        )
    return found


def whole(board: BoardReport) -> Parts:
    """Cycles of all measured layers together."""
    rows = board.layers
    return Parts(
        sum(row.compute_cycles for row in rows),
        sum(row.copy_cycles for row in rows),
        sum(row.other_cycles for row in rows),
    )


def section(data: ReportData) -> Section:
    boards = [board for board in data.boards if whole(board).total]
    if not boards:
        return Section("breakdown", "Latency breakdown", ("No layer was measured in this run.",))
    total = Figure(
        id="f-shares",
        title="Whole network",
        sentence=" ".join(_says(board) for board in boards),
        panels=(Panel("c-shares", "", _shares(boards)),),
        table=_table(boards, None),
        badges=tuple(badge_cycles(board) for board in boards),
        wide=True,
    )
    by_block = Figure(
        id="f-breakdown",
        title="By block",
        sentence="Time of each block between two cuts, stacked by part. "
        + " ".join(_heaviest(board) for board in boards),
        panels=tuple(
            Panel(f"c-breakdown-{slug(board.name)}", board.title, _stacked(board))
            for board in boards
        ),
        table=_table(boards, boards[0]),
        note="Compute: the kernels' inner work. Copy: moving weights and activations between "
        "memories. Other: loops, barriers, calls. Each panel has its own scale.",
    )
    return Section("breakdown", "Latency breakdown", (), (total, by_block))


def _says(board: BoardReport) -> str:
    parts = whole(board)
    shares = [f"{part} {text.percent(parts.share(part))}" for part in PARTS]
    time = text.seconds(board.seconds(parts.total))
    return f"Of {time} on the {board.title}: {text.listed(shares)}."


def _heaviest(board: BoardReport) -> str:
    found = blocks(board)
    name = max(found, key=lambda block: found[block].total)
    parts = found[name]
    most = max(PARTS, key=parts.share)
    return (
        f"On the {board.title} {name} takes longest, "
        f"{text.seconds(board.seconds(parts.total))}, {text.percent(parts.share(most), 0)} of it "
        f"{most}."
    )


def _shares(boards: list[BoardReport]) -> dict[str, Any]:
    rows = [
        {
            "board": board.title,
            "part": part,
            "order": order,
            "share": round(whole(board).share(part), 5),
            "ms": round(board.seconds(getattr(whole(board), part)) * 1e3, 4),
        }
        for board in boards
        for order, part in enumerate(PARTS)
    ]
    titles = [board.title for board in boards]
    base = alt.Chart(charts.named("parts")).encode(
        y=alt.Y("board:N", sort=titles, title=None),
        x=alt.X(
            "share:Q",
            stack="zero",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%", title="share of the time"),
        ),
        order=alt.Order("order:Q"),
    )
    bars = base.mark_bar().encode(
        color=charts.part_colour(PARTS),
        tooltip=[
            alt.Tooltip("board:N"),
            alt.Tooltip("part:N"),
            alt.Tooltip("share:Q", format=".1%"),
            alt.Tooltip("ms:Q"),
        ],
    )
    return charts.spec(bars, 44 * len(boards), parts=rows)


def _stacked(board: BoardReport) -> dict[str, Any]:
    found = blocks(board)
    rows = [
        {
            "block": block,
            "part": part,
            "order": order,
            "ms": float(f"{board.seconds(getattr(parts, part)) * 1e3:.5g}"),
        }
        for block, parts in found.items()
        for order, part in enumerate(PARTS)
    ]
    axis = alt.Axis(labelAngle=-60, labelLimit=90, title=None, ticks=False)
    bars = (
        alt.Chart(charts.named("parts"))
        .mark_bar()
        .encode(
            x=alt.X("block:N", sort=list(found), axis=axis),
            y=alt.Y("ms:Q", stack="zero", title="time (ms)"),
            order=alt.Order("order:Q"),
            color=charts.part_colour(PARTS),
            tooltip=[alt.Tooltip("block:N"), alt.Tooltip("part:N"), alt.Tooltip("ms:Q")],
        )
    )
    return charts.spec(bars, 240, parts=rows)


def _table(boards: list[BoardReport], per_block: BoardReport | None) -> Table:
    """Milliseconds and shares, by block or (without ``per_block``) for the network."""
    cols: list[Column] = [*columns("block", words=("block",))]
    for board in boards:
        cols += columns("total ms", "compute", "copy", "other", group=board.title)
    tables = {board.name: blocks(board) for board in boards}
    names = list(dict.fromkeys(n for found in tables.values() for n in found)) if per_block else []
    rows = [_row(name, [(b, tables[b.name].get(name)) for b in boards]) for name in names]
    total = _row("whole network", [(b, whole(b)) for b in boards])
    rows.append(Row(total.cells, tone="total"))
    kind = "blocks" if per_block else "network"
    return Table(f"t-breakdown-{kind}", "Time and its parts", tuple(cols), tuple(rows))


def _row(name: str, parts: list[tuple[BoardReport, Parts | None]]) -> Row:
    cells = [word(name)]
    for board, found in parts:
        if found is None:
            cells += [number(None)] * 4
            continue
        cells.append(number(board.seconds(found.total) * 1e3))
        cells += [number(found.share(p), text.percent(found.share(p))) for p in PARTS]
    return Row(tuple(cells))
