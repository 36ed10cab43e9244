"""What to run where: one sentence a board, all radios in a table, the switches in a figure."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

import altair as alt

from hil.core.cost import Interval
from reports import charts, text
from reports.model import BandwidthCurve, BestRange, DecisionRow, ReportData, Split, Target
from reports.views.parts import Cell, Column, Figure, Panel, Row, Section, Table, median, slug, word

GOALS = {Target.LATENCY: "answers soonest", Target.ENERGY: "spends the least energy"}
AXES = {Target.LATENCY: "latency (ms)", Target.ENERGY: "energy (mJ)"}
# Both stored units (s and uJ) to the axis' unit.
SCALES = {Target.LATENCY: 1e3, Target.ENERGY: 1e-3}
BEST, RAW, DEVICE = "best split", "raw image", "all on device"


def short(split: Split) -> str:
    """``block 3, 4/16 ch``, for tables and charts."""
    if not split.wire_bytes:
        return "all on the device"
    if not split.layers:
        return "send the raw image"
    return f"cut {split.cut}, {split.channels}/{split.of_channels} ch"


def phrase(split: Split, layers_in_all: int) -> str:
    """What the board does, in words, to stand after its name."""
    if not split.wire_bytes:
        return f"runs all {split.layers} layers itself and sends nothing but the answer"
    size = text.byte_count(split.wire_bytes)
    if not split.layers:
        return f"computes nothing and sends the raw image ({size})"
    share = (
        f"all {split.of_channels} channels"
        if split.channels == split.of_channels
        else f"{split.channels} of {split.of_channels} channels"
    )
    return (
        f"runs the first {split.layers} of {layers_in_all} layers (cut {split.cut}) "
        f"and sends {share} ({size})"
    )


def sentence(row: DecisionRow, title: str, layers_in_all: int) -> str:
    """The decision for one board and radio."""
    where = f"Over {row.radio} at {text.bandwidth(row.bandwidth_kbps)}"
    if row.split is None:
        return f"{where}, nothing can be recommended for the {title}: {row.why_none}."
    costs = [text.seconds(row.latency_s.median)] if row.latency_s else []
    costs += [text.energy(row.energy_uj.median)] if row.energy_uj else []
    cost = f": {text.listed(costs)} an image" if costs else ""
    right = (
        f", {text.percent(row.accuracy.median)} of images right"
        if row.accuracy
        else "; its accuracy is unknown"
    )
    limits = f" Limit: {row.limits}." if row.limits else ""
    return (
        f"{where}, the {title} {GOALS[row.target]} when it "
        f"{phrase(row.split, layers_in_all)}{cost}{right}.{limits}"
    )


def certainty(row: DecisionRow) -> str:
    """Whether the measurements settle the decision, and what stands against it."""
    if row.split is None:
        return "No decision"
    if row.certain:
        return "Settled: no other split can be better within the intervals"
    rival = [f"{short(row.rival)} may be as good"] if row.rival else []
    return f"Not settled: {text.listed([*rival, *row.doubts])}"


def section(data: ReportData) -> Section:
    leads = []
    for board in data.boards:
        first = next((row for row in data.decisions if row.board == board.name), None)
        if first is not None:
            leads.append(_headline(data, first))
    lead = () if leads else ("No decision was taken in this run: it has no priced splits.",)
    return Section(
        id="decision",
        title="Decision",
        lead=lead,
        figures=_figures(data),
        tables=(_table(data),) if data.decisions else (),
        template="decision.html.j2",
        extra={"headlines": leads},
    )


def _headline(data: ReportData, row: DecisionRow) -> dict[str, Any]:
    board = data.board(row.board)
    return {
        "board": board.title,
        "text": sentence(row, board.title, _layers(data)),
        "certainty": certainty(row),
        "certain": row.certain,
        "shade": data.boards.index(board) + 1,
    }


def _layers(data: ReportData) -> int:
    return max(
        (option.split.layers for option in data.options),
        default=max(len(board.layers) for board in data.boards),
    )


def _table(data: ReportData) -> Table:
    columns = (
        Column("board", False),
        Column("radio", False),
        Column("target", False),
        Column("best split", False),
        Column("latency ms"),
        Column("energy mJ"),
        Column("accuracy"),
        Column("settled", False),
    )
    rows = tuple(_row(data, row) for row in data.decisions)
    return Table("t-decisions", "Every decision of this run", columns, rows, True, 2)


def _row(data: ReportData, row: DecisionRow) -> Row:
    radio = f"{row.radio}, {text.bandwidth(row.bandwidth_kbps)}"
    split = word(short(row.split)) if row.split else word(f"none: {row.why_none}", tone="warn")
    return Row(
        (
            word(data.board(row.board).title),
            Cell(radio, row.bandwidth_kbps),
            word(row.target),
            split,
            median(row.latency_s, 1e3, 3),
            median(row.energy_uj, 1e-3, 3),
            accuracy(row.accuracy),
            word("yes") if row.certain else word(certainty(row), tone="warn"),
        )
    )


def accuracy(fraction: Interval | None) -> Cell:
    """Images right in percent, with the interval over images as its hint."""
    if fraction is None:
        return Cell("unknown", None, "nobody evaluated this split", "muted")
    hint = f"{text.percent(fraction.lo)} to {text.percent(fraction.hi)}, n = {fraction.n:,}"
    return Cell(text.percent(fraction.median), fraction.median, hint)


def _figures(data: ReportData) -> tuple[Figure, ...]:
    panels = tuple(
        Panel(f"c-decision-{slug(board.name)}-{target.value}", f"{board.title}: {target}", found)
        for board in data.boards
        for target in Target
        if (found := _chart(data, board.name, target)) is not None
    )
    if not panels:
        return ()
    figure = Figure(
        id="f-decision",
        title="Best split by bandwidth",
        sentence=_switching(data),
        panels=panels,
        table=_ranges_table(data),
        note="Letters mark the ranges of the table below the figure; the dotted upright line is "
        "the radio's own bandwidth. Where the line is broken, that split's cost over bandwidth was "
        "not recorded. Both axes are logarithmic.",
    )
    return (figure,)


def _switching(data: ReportData) -> str:
    """What the figure says this time: where each board changes its split, first radio."""
    parts = []
    for board in data.boards:
        lead = next((row for row in data.decisions if row.board == board.name), None)
        found = [
            r
            for r in data.ranges
            if lead and (r.board, r.radio, r.target) == (lead.board, lead.radio, lead.target)
        ]
        places = [text.bandwidth(r.to_kbps) for r in found[:-1]]
        if len(found) == 1 and found[0].split:
            parts.append(f"the {board.title} keeps to one split ({short(found[0].split)})")
        elif places:
            parts.append(f"the {board.title} changes its split at {text.listed(places)}")
    if not parts:
        return "Cost of the best split as the link gets faster."
    lead = data.decisions[0]
    return (
        f"Cost of the best split as the link gets faster. For {lead.target} over {lead.radio}, "
        f"{text.listed(parts)}."
    )


def letters(ranges: Sequence[BestRange]) -> list[str]:
    """A letter a range, AA after Z."""
    return [
        (ascii_uppercase[i // 26 - 1] if i >= 26 else "") + ascii_uppercase[i % 26]
        for i in range(len(ranges))
    ]


def _ranges_table(data: ReportData) -> Table:
    columns = (
        Column("board", False),
        Column("radio", False),
        Column("target", False),
        Column("range", False),
        Column("from kbit/s"),
        Column("to kbit/s"),
        Column("best split", False),
    )
    rows = []
    for group in _grouped(data.ranges):
        for letter, item in zip(letters(group), group, strict=True):
            cells = (
                word(data.board(item.board).title),
                word(item.radio),
                word(item.target),
                word(letter),
                Cell(text.digits(item.from_kbps), item.from_kbps),
                Cell(text.digits(item.to_kbps), item.to_kbps),
                word(short(item.split) if item.split else "none"),
            )
            rows.append(Row(cells, {"board": item.board, "radio": item.radio}))
    return Table("t-ranges", "Best split by bandwidth range", columns, tuple(rows), True)


def _grouped(ranges: Sequence[BestRange]) -> list[list[BestRange]]:
    groups: dict[tuple[str, str, Target], list[BestRange]] = {}
    for item in ranges:
        groups.setdefault((item.board, item.radio, item.target), []).append(item)
    return [sorted(group, key=lambda r: r.from_kbps) for group in groups.values()]


def envelope(
    curves: Sequence[BandwidthCurve], ranges: Sequence[BestRange]
) -> list[tuple[float, float | None, Split | None]]:
    """(bandwidth, value, split) along the best splits: each range's own curve, nothing between.

    The limits of a decision may forbid the cheapest curve, so the ranges choose, not a minimum.
    A range without a curve is one point of value None: the line breaks there and does not
    bridge what is not known.
    """
    by_split = {curve.split.key: curve for curve in curves}
    points: list[tuple[float, float | None, Split | None]] = []
    for item in ranges:
        curve = by_split.get(item.split.key) if item.split else None
        if curve is None:
            points.append((item.from_kbps, None, item.split))
            continue
        for bandwidth, value in zip(curve.bandwidth_kbps, curve.value, strict=True):
            if item.from_kbps <= bandwidth <= item.to_kbps:
                points.append((bandwidth, value, item.split))
    return points


def _chart(data: ReportData, board: str, target: Target) -> dict[str, Any] | None:
    rows, marks = [], []
    for radio in data.radios:
        mine = (board, radio.name, target)
        curves = [c for c in data.curves if (c.board, c.radio, c.target) == mine]
        ranges = [r for r in data.ranges if (r.board, r.radio, r.target) == mine]
        rows += _lines(radio.name, target, curves, sorted(ranges, key=lambda r: r.from_kbps))
        marks += _marks(radio.name, ranges)
    return _drawn(data, rows, marks, target) if rows else None


def _lines(
    radio: str, target: Target, curves: list[BandwidthCurve], ranges: list[BestRange]
) -> list[dict[str, Any]]:
    series: list[tuple[str, float, float | None, Split | None]]
    series = [(BEST, *point) for point in envelope(curves, ranges)]
    for curve in curves:
        label = RAW if not curve.split.layers else DEVICE if not curve.split.wire_bytes else ""
        if label:
            points = zip(curve.bandwidth_kbps, curve.value, strict=True)
            series += [(label, bandwidth, value, curve.split) for bandwidth, value in points]
    return [
        {
            "radio": radio,
            "line": label,
            "kbps": round(bandwidth, 3),
            "value": None if value is None else float(f"{value * SCALES[target]:.4g}"),
            "split": short(split) if split else "none",
        }
        for label, bandwidth, value, split in series
    ]


def _marks(radio: str, ranges: Sequence[BestRange]) -> list[dict[str, Any]]:
    rising = sorted(ranges, key=lambda r: r.from_kbps)
    return [
        {
            "radio": radio,
            "letter": letter,
            "from": item.from_kbps,
            "middle": (item.from_kbps * item.to_kbps) ** 0.5,
        }
        for letter, item in zip(letters(rising), rising, strict=True)
    ]


def _drawn(
    data: ReportData, rows: list[dict[str, Any]], marks: list[dict[str, Any]], target: Target
) -> dict[str, Any]:
    radio = alt.param(name=charts.RADIO, value=data.radios[0].name)
    shown = f"datum.radio === {charts.RADIO}"
    x = alt.X(
        "kbps:Q",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(tickCount=5),
        title="bandwidth (kbit/s)",
    )
    names = [name for name in (BEST, DEVICE, RAW) if any(r["line"] == name for r in rows)]
    looks = {BEST: ([1, 0], 2.5), DEVICE: ([6, 3], 1.5), RAW: ([2, 2], 1.5)}
    line = (
        alt.Chart(charts.named("lines"))
        .transform_filter(shown)
        .mark_line(interpolate="linear")
        .encode(
            x=x,
            y=alt.Y(
                "value:Q",
                scale=alt.Scale(type="log", nice=False, padding=14),
                axis=alt.Axis(tickCount=5),
                title=AXES[target],
            ),
            strokeDash=alt.StrokeDash(
                "line:N",
                scale=alt.Scale(domain=names, range=[looks[n][0] for n in names]),
                legend=alt.Legend(orient="top", title=None, symbolSize=220),
            ),
            color=alt.Color(
                "line:N",
                scale=alt.Scale(
                    domain=names,
                    range=["var(--accent)", "var(--ink-2)", "var(--ink-2)"][: len(names)],
                ),
            ),
            strokeWidth=alt.StrokeWidth(
                "line:N",
                sort=names,
                scale=alt.Scale(domain=names, range=[looks[n][1] for n in names]),
            ),
            tooltip=[
                alt.Tooltip("line:N"),
                alt.Tooltip("split:N"),
                alt.Tooltip("kbps:Q", title="kbit/s"),
                alt.Tooltip("value:Q", title=AXES[target]),
            ],
        )
    )
    base = alt.Chart(charts.named("ranges")).transform_filter(shown)
    switches = base.mark_rule(opacity=0.35).encode(x="from:Q")
    names_of = base.mark_text(baseline="top", fontWeight=600).encode(
        x="middle:Q", y=alt.value(2), text="letter:N"
    )
    own = [{"radio": r.name, "kbps": r.bandwidth_kbps} for r in data.radios]
    here = (
        alt.Chart(charts.named("radios"))
        .transform_filter(shown)
        .mark_rule(strokeDash=[1, 3], strokeWidth=2)
        .encode(x="kbps:Q")
    )
    chart = alt.layer(switches, line, here, names_of).add_params(radio)
    return charts.spec(chart, 220, lines=rows, ranges=marks, radios=own)
