"""Cycles, energy and MAC/cycle of every layer, boards side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import altair as alt

from hil.core.cost import Interval
from hil.core.errors import DataError
from reports import charts, text
from reports.model import BoardReport, LayerRow, ReportData
from reports.views.parts import (
    Badge,
    Cell,
    Column,
    Figure,
    Panel,
    Row,
    Section,
    Table,
    bounds,
    columns,
    median,
    number,
    spread,
    whole,
    word,
)


@dataclass(frozen=True)
class LayerName:
    """What a layer is, whatever board it ran on."""

    index: int
    name: str
    op: str
    block: str
    macs: int


def layer_names(data: ReportData) -> tuple[LayerName, ...]:
    """Layers of all boards by number. DataError when two boards' layers are not the same ones."""
    found: dict[int, LayerName] = {}
    for board in data.boards:
        for row in board.layers:
            name = LayerName(row.index, row.name, row.op, row.block, row.macs)
            if found.setdefault(row.index, name) != name:
                raise DataError(
                    f"layer {row.index} is {found[row.index].name!r} on one board and "
                    f"{row.name!r} on {board.name}; report runs of one network together"
                )
    return tuple(found[index] for index in sorted(found))


def section(data: ReportData) -> Section:
    if not any(board.layers for board in data.boards):
        return Section("layers", "Layers", ("No layer was measured in this run.",))
    return Section(
        id="layers",
        title="Layers",
        lead=(_lead(data),),
        figures=tuple(f for f in (_cycles(data), _energy(data), _efficiency(data)) if f),
        tables=(_overview(data),),
        template="layers.html.j2",
    )


def _lead(data: ReportData) -> str:
    parts = []
    for board in data.boards:
        cycles = sum(row.cycles.median for row in board.layers)
        macs = sum(row.macs for row in board.layers)
        per_cycle = f" ({text.digits(macs / cycles)}{text.NBSP}MAC/cycle)" if cycles else ""
        parts.append(f"{text.seconds(board.seconds(cycles))} on the {board.title}{per_cycle}")
    layers = max(len(board.layers) for board in data.boards)
    return f"{text.plural(layers, 'layer')}, one pass: {text.listed(parts)}, summed over layers."


def badge_cycles(board: BoardReport) -> Badge:
    origin = board.provenance.cycles_origin
    return Badge(origin, f"{board.title}: cycles {origin}")


def badge_energy(board: BoardReport) -> Badge:
    origin = board.provenance.energy_origin
    return Badge(origin, f"{board.title}: energy {origin}")


Value = Callable[[LayerRow], Interval | None]


def _cycles(data: ReportData) -> Figure:
    return Figure(
        id="f-cycles",
        title="Cycles of each layer",
        sentence="Cycles of the compute clock for one pass. " + _slowest(data),
        panels=(
            Panel("c-cycles", "", _bars(data, lambda r: r.cycles, 1e-3, "cycles (thousands)")),
        ),
        table=_detail(data, "t-cycles", "Cycles by layer", lambda r: r.cycles, "cycles"),
        note="Thin lines are the intervals of the medians. Filled and outlined bars are the "
        "boards, in the legend's order.",
        badges=tuple(badge_cycles(board) for board in data.boards),
        wide=True,
    )


def _slowest(data: ReportData) -> str:
    parts = []
    for board in data.boards:
        if not board.layers:
            continue
        total = sum(row.cycles.median for row in board.layers)
        worst = max(board.layers, key=lambda row: row.cycles.median)
        share = worst.cycles.median / total if total else 0.0
        parts.append(
            f"On the {board.title} layer {worst.index} ({worst.name}) costs most, "
            f"{text.count(worst.cycles.median)} cycles or {text.percent(share)} of the sum."
        )
    return " ".join(parts)


def _energy(data: ReportData) -> Figure | None:
    boards = [b for b in data.boards if any(row.energy_uj for row in b.layers)]
    if not boards:
        return None
    parts = []
    for board in boards:
        rows = [row for row in board.layers if row.energy_uj]
        worst = max(rows, key=lambda r: r.energy_uj.median if r.energy_uj else 0.0)
        assert worst.energy_uj is not None
        total = sum(r.energy_uj.median for r in rows if r.energy_uj)
        lacking = len(board.layers) - len(rows)
        unmeasured = f" ({text.plural(lacking, 'layer')} not measured)" if lacking else ""
        parts.append(
            f"On the {board.title} layer {worst.index} ({worst.name}) takes most, "
            f"{text.energy(worst.energy_uj.median)} of {text.energy(total)}{unmeasured}."
        )
    return Figure(
        id="f-energy",
        title="Energy of each layer",
        sentence="Energy between the marker's edges for one pass, base power included. "
        + " ".join(parts),
        panels=(Panel("c-energy", "", _bars(data, lambda r: r.energy_uj, 1.0, "energy (µJ)")),),
        table=_detail(data, "t-energy", "Energy by layer", lambda r: r.energy_uj, "µJ"),
        badges=tuple(badge_energy(board) for board in boards),
        wide=True,
    )


def _bars(data: ReportData, value: Value, scale: float, title: str) -> dict[str, Any]:
    titles = [board.title for board in data.boards]
    rows = []
    for board in data.boards:
        for row in board.layers:
            interval = value(row)
            if interval is not None:
                rows.append(
                    {
                        "layer": row.index,
                        "name": row.name,
                        "op": row.op,
                        "board": board.title,
                        "v": _short(interval.median * scale),
                        "lo": _short(interval.lo * scale),
                        "hi": _short(interval.hi * scale),
                    }
                )
    base = alt.Chart(charts.named("layers")).encode(
        x=_layer_axis(data), xOffset=alt.XOffset("board:N", sort=titles, scale=_offset(titles))
    )
    bars = base.mark_bar(strokeWidth=1).encode(
        y=alt.Y("v:Q", title=title),
        color=charts.board_colour(titles),
        stroke=alt.Stroke("board:N", scale=_range(titles), legend=charts.TOP),
        fillOpacity=alt.FillOpacity(
            "board:N",
            sort=titles,
            scale=alt.Scale(domain=titles, range=[0.85, 0.15, 0.5, 0.3][: len(titles)]),
            legend=charts.TOP,
        ),
        opacity=charts.picked_opacity(),
        tooltip=[
            alt.Tooltip("board:N"),
            alt.Tooltip("layer:O"),
            alt.Tooltip("name:N"),
            alt.Tooltip("op:N"),
            alt.Tooltip("v:Q", title=title, format=",.4~r"),
            alt.Tooltip("lo:Q", title="from", format=",.5~r"),
            alt.Tooltip("hi:Q", title="to", format=",.5~r"),
        ],
    )
    whiskers = base.mark_rule(strokeWidth=1).encode(y="lo:Q", y2="hi:Q")
    return charts.spec(
        alt.layer(bars, whiskers).add_params(charts.picked_layer()), 240, layers=rows
    )


def _short(value: float) -> float:
    """Six digits: more than any chart shows, less than the page would carry."""
    return float(f"{value:.6g}")


def _range(titles: list[str]) -> alt.Scale:
    return alt.Scale(domain=titles, range=[*charts.BOARD_COLOURS[: len(titles)]])


def _offset(titles: list[str]) -> alt.Scale:
    return alt.Scale(domain=titles, paddingInner=0.1)


def _layer_axis(data: ReportData) -> alt.X:
    """All layers, so that the figures stand above each other layer by layer."""
    axis = alt.Axis(labelAngle=0, labelOverlap="greedy", title="layer", ticks=False)
    layers = [layer.index for layer in layer_names(data)]
    return alt.X("layer:O", axis=axis, scale=alt.Scale(domain=layers))


def _efficiency(data: ReportData) -> Figure:
    titles = [board.title for board in data.boards]
    rows = [
        {
            "layer": row.index,
            "name": row.name,
            "op": row.op,
            "board": board.title,
            "v": round(row.mac_per_cycle, 4),
        }
        for board in data.boards
        for row in board.layers
        if row.mac_per_cycle is not None and row.op not in _NOT_MAC
    ]
    shapes = alt.Scale(domain=titles, range=[*charts.BOARD_SHAPES[: len(titles)]])
    points = (
        alt.Chart(charts.named("layers"))
        .mark_point(filled=True, size=38)
        .encode(
            x=_layer_axis(data),
            y=alt.Y("v:Q", title="MAC/cycle"),
            color=charts.board_colour(titles),
            shape=alt.Shape("board:N", scale=shapes, legend=charts.TOP),
            opacity=charts.picked_opacity(0.2),
            tooltip=[
                alt.Tooltip("board:N"),
                alt.Tooltip("layer:O"),
                alt.Tooltip("name:N"),
                alt.Tooltip("op:N"),
                alt.Tooltip("v:Q", title="MAC/cycle", format=".3~r"),
            ],
        )
    )
    chart = charts.spec(points.add_params(charts.picked_layer()), 200, layers=rows)
    return Figure(
        id="f-efficiency",
        title="Multiply-accumulates a cycle",
        sentence="How well the kernels use each chip. " + _by_op(data),
        panels=(Panel("c-efficiency", "", chart),),
        table=_op_table(data),
        note="Additions and pooling have no multiply-accumulates and are left out.",
        wide=True,
    )


# Their "macs" count additions or window reads.
_NOT_MAC = frozenset({"add", "avgpool", "maxpool"})


def ops(board: BoardReport) -> dict[str, tuple[int, float, int]]:
    """(MACs, cycles, layers) by kind of layer that multiplies."""
    found: dict[str, tuple[int, float, int]] = {}
    for row in board.layers:
        if row.op not in _NOT_MAC:
            macs, cycles, layers = found.get(row.op, (0, 0.0, 0))
            found[row.op] = (macs + row.macs, cycles + row.cycles.median, layers + 1)
    return found


def _by_op(data: ReportData) -> str:
    parts = []
    for board in data.boards:
        rates = {op: macs / cycles for op, (macs, cycles, _) in ops(board).items() if cycles}
        if len(rates) > 1:
            best, worst = max(rates, key=rates.__getitem__), min(rates, key=rates.__getitem__)
            parts.append(
                f"The {board.title} is best at {best} layers ({text.digits(rates[best])}) and "
                f"worst at {worst} ({text.digits(rates[worst])})."
            )
    return " ".join(parts)


def _op_table(data: ReportData) -> Table:
    rows = []
    for board in data.boards:
        for op, (macs, cycles, layers) in sorted(ops(board).items()):
            rate = macs / cycles if cycles else None
            cells = word(board.title), word(op), whole(layers), whole(macs), whole(cycles)
            rows.append(Row((*cells, number(rate))))
    names = ("board", "kind", "layers", "MACs", "cycles", "MAC/cycle")
    caption = "MAC/cycle by kind of layer"
    return Table("t-efficiency", caption, columns(*names, words=names[:2]), tuple(rows), True, 2)


def _detail(data: ReportData, name: str, caption: str, value: Value, unit: str) -> Table:
    """Median, low, high and n by layer: the numbers behind a bar chart."""
    cols: list[Column] = [*columns("layer"), *columns("name", words=("name",))]
    for board in data.boards:
        cols += columns(unit, "from", "to", "n", group=board.title)
    by_board = [{row.index: row for row in board.layers} for board in data.boards]
    rows = []
    for layer in layer_names(data):
        cells: list[Cell] = [number(layer.index, str(layer.index)), word(layer.name)]
        for mine in by_board:
            interval = value(mine[layer.index]) if layer.index in mine else None
            cells += [replace(median(interval, significant=5), hint=""), *bounds(interval)]
        rows.append(Row(tuple(cells), {"layer": str(layer.index)}))
    return Table(name, caption, tuple(cols), tuple(rows), True, 2)


def _overview(data: ReportData) -> Table:
    """One line a layer: what it is, then each board's cost of it."""
    cols: list[Column] = [
        *columns("#"),
        *columns("layer", "kind", words=("layer", "kind")),
        *columns("MACs"),
    ]
    for board in data.boards:
        cols += columns("cycles", "±", "ms", "MAC/cycle", "µJ", "± ", group=board.title)
    by_board = [{row.index: row for row in board.layers} for board in data.boards]
    rows = [_line(data, layer, by_board) for layer in layer_names(data)]
    return Table("t-layers", "All layers on all boards", tuple(cols), tuple(rows), True, 2)


def _line(data: ReportData, layer: LayerName, by_board: list[dict[int, LayerRow]]) -> Row:
    cells = [
        number(layer.index, str(layer.index)),
        word(layer.name, f"block {layer.block}"),
        word(layer.op),
        whole(layer.macs),
    ]
    for board, mine in zip(data.boards, by_board, strict=True):
        cells += _costs(board, mine.get(layer.index))
    return Row(tuple(cells), {"layer": str(layer.index)})


def _costs(board: BoardReport, row: LayerRow | None) -> list[Cell]:
    if row is None:
        return [number(None) for _ in range(6)]
    time_ms = board.seconds(row.cycles.median) * 1e3
    rate = None if row.op in _NOT_MAC else row.mac_per_cycle
    return [
        number(row.cycles.median, text.count(row.cycles.median), text.origin_of(row.cycles)),
        spread(row.cycles),
        number(time_ms),
        number(rate),
        median(row.energy_uj),
        spread(row.energy_uj),
    ]
