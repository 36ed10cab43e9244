"""Every cut and number of channels with its cost, and why some cannot run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from hil.core.cost import Interval
from reports import charts, text
from reports.model import LinkCost, PartitionRow, RadioInfo, ReportData, Target
from reports.views.decision import accuracy, short
from reports.views.parts import (
    Cell,
    Column,
    Figure,
    Panel,
    Row,
    Section,
    Table,
    median,
    number,
    slug,
    whole,
    word,
)

# Channel counts shown for each cut, beside those that are best for some radio.
SHOWN_PER_CUT = 4
# Columns whose text depends on the radio; the page swaps them when another one is chosen.
LIVE = ("radio_s", "total_s", "radio_uj", "total_uj", "note")


@dataclass(frozen=True)
class Winner:
    """The cheapest allowed option of a board over a radio, for one target."""

    board: str
    radio: str
    target: Target
    key: tuple[int, int]


def winners(options: Sequence[PartitionRow], radios: Sequence[RadioInfo]) -> tuple[Winner, ...]:
    """Minima of the table over what the board can run and the decision's limits allow."""
    found = []
    for board in dict.fromkeys(option.board for option in options):
        for radio in radios:
            mine = [o for o in options if o.board == board and allowed(o, radio.name)]
            for target in Target:
                costs = {o.split.key: cost for o in mine if (cost := total(o, radio.name, target))}
                if costs:
                    key = min(costs, key=lambda k: costs[k].median)
                    found.append(Winner(board, radio.name, target, key))
    return tuple(found)


def allowed(option: PartitionRow, radio: str) -> bool:
    """Whether the board can run it and no limit is known to forbid it over that radio."""
    link = option.link(radio)
    return not option.refused and link is not None and not link.rejected


def limits_known(options: Sequence[PartitionRow]) -> bool:
    """Whether every priced option says if the decision's limits allow it."""
    return all(link.rejected is not None for option in options for link in option.links)


def total(option: PartitionRow, radio: str, target: Target) -> Interval | None:
    """Whole latency (s) or energy (uJ) over that radio, if known."""
    link = option.link(radio)
    if link is None:
        return None
    return link.total_latency_s if target is Target.LATENCY else link.total_energy_uj


def shown(
    options: Sequence[PartitionRow], best: Sequence[Winner], chosen: set[tuple[str, int, int]]
) -> tuple[PartitionRow, ...]:
    """Some channel counts of each cut, spread evenly, and all that win or were chosen.

    Refused cuts keep one line: the reason does not depend on the channels.
    """
    keep = chosen | {(w.board, *w.key) for w in best}
    groups: dict[tuple[str, int, str], list[PartitionRow]] = {}
    for option in options:
        groups.setdefault((option.board, option.split.layers, option.split.cut), []).append(option)
    rows = []
    for group in groups.values():
        if all(option.refused for option in group):
            rows.append(group[-1])
            continue
        picked = {round(i * (len(group) - 1) / (SHOWN_PER_CUT - 1)) for i in range(SHOWN_PER_CUT)}
        rows += [
            option
            for i, option in enumerate(group)
            if i in picked or (option.board, *option.split.key) in keep
        ]
    return tuple(rows)


def section(data: ReportData) -> Section:
    if not data.options or not data.radios:
        return Section("partitions", "Partitions", ("No split was priced in this run.",))
    best = winners(data.options, data.radios)
    chosen = {(d.board, *d.split.key) for d in data.decisions if d.split}
    rows = shown(data.options, best, chosen)
    return Section(
        id="partitions",
        title="Partitions",
        lead=(_lead(data, rows),),
        figures=(_figure(data, best),),
        tables=(_table(data, rows, best),),
        template="partitions.html.j2",
        extra={
            "boards": [(board.name, board.title) for board in data.boards],
            "radios": [(radio.name, _radio_label(radio)) for radio in data.radios],
            "live": live_cells(data, rows, best),
        },
    )


def _radio_label(radio: RadioInfo) -> str:
    return f"{radio.name}, {text.bandwidth(radio.bandwidth_kbps)}"


def _lead(data: ReportData, rows: Sequence[PartitionRow]) -> str:
    refused = {(o.board, o.split.cut) for o in data.options if o.refused}
    parts = []
    for board in data.boards:
        number_refused = sum(name == board.name for name, _ in refused)
        cuts = len({o.split.cut for o in data.options if o.board == board.name})
        fits = "all fit" if not number_refused else f"{number_refused} cannot run"
        parts.append(f"{text.plural(cuts, 'cut')} on the {board.title} ({fits})")
    hidden = len(data.options) - len(rows)
    thinned = (
        f" The table shows {len(rows):,} of them: a few channel counts of each cut, all that are "
        "best for a radio, and one line for a cut that cannot run."
        if hidden
        else ""
    )
    return f"{len(data.options):,} splits were priced: {text.listed(parts)}.{thinned}"


COLUMNS = (
    Column("board", False),
    Column("cut", False),
    Column("layers"),
    Column("channels"),
    Column("bytes"),
    Column("device", group="latency, ms"),
    Column("radio", group="latency, ms", live="radio_s"),
    Column("cloud", group="latency, ms"),
    Column("total", group="latency, ms", live="total_s"),
    Column("device", group="energy, mJ"),
    Column("radio", group="energy, mJ", live="radio_uj"),
    Column("total", group="energy, mJ", live="total_uj"),
    Column("accuracy"),
    Column("note", False, live="note"),
)


def _table(data: ReportData, rows: Sequence[PartitionRow], best: Sequence[Winner]) -> Table:
    radio = data.radios[0].name
    lines = tuple(_row(data, option, radio, best) for option in rows)
    return Table("t-partitions", "Splits, priced", COLUMNS, lines, True, 2)


def _row(data: ReportData, option: PartitionRow, radio: str, best: Sequence[Winner]) -> Row:
    split = option.split
    live = radio_cells(option, radio, best)
    channels = f"{split.channels}/{split.of_channels}" if split.wire_bytes else "–"
    cells = (
        word(data.board(option.board).title),
        Cell(split.cut, split.layers),
        whole(split.layers),
        Cell(channels, split.channels if split.wire_bytes else 0),
        whole(split.wire_bytes),
        median(option.device_s, 1e3, 3),
        live["radio_s"],
        median(option.cloud_s, 1e3, 3),
        live["total_s"],
        median(option.device_uj, 1e-3, 3),
        live["radio_uj"],
        live["total_uj"],
        accuracy(option.accuracy),
        live["note"],
    )
    marks = {"board": option.board, "refused": "1" if option.refused else "0"}
    return Row(cells, marks, "refused" if option.refused else "")


def radio_cells(option: PartitionRow, radio: str, best: Sequence[Winner]) -> dict[str, Cell]:
    """The cells of a row that another radio changes."""
    link = option.link(radio)
    if link is None or option.refused:
        empty = number(None)
        cells = dict.fromkeys(LIVE, empty)
    else:
        cells = _priced(link)
    cells["note"] = _note(option, radio, best)
    return cells


def _priced(link: LinkCost) -> dict[str, Cell]:
    return {
        "radio_s": number(link.latency_s * 1e3),
        "total_s": median(link.total_latency_s, 1e3),
        "radio_uj": number(link.energy_uj * 1e-3),
        "total_uj": median(link.total_energy_uj, 1e-3),
    }


def _note(option: PartitionRow, radio: str, best: Sequence[Winner]) -> Cell:
    """Refused, best, not allowed, or nothing to say; sorted in the order best to refused."""
    if option.refused:
        return Cell(f"cannot run: {option.refused}", 4, tone="bad")
    key = option.split.key
    won = {w.target for w in best if (w.board, w.radio, w.key) == (option.board, radio, key)}
    names = {Target.LATENCY: "fastest", Target.ENERGY: "least energy"}
    wins = [names[target] for target in Target if target in won]
    link = option.link(radio)
    if wins:
        aside = ", limits aside" if link is None or link.rejected is None else ""
        return Cell(f"★ {text.listed(wins)}{aside}", 2 - len(wins), tone="best")
    if link is None or option.device_s is None or option.cloud_s is None:
        return Cell("cost not complete", 3, tone="muted")
    if link.rejected:
        return Cell(link.rejected, 2, tone="muted")
    return Cell("", None)


def live_cells(
    data: ReportData, rows: Sequence[PartitionRow], best: Sequence[Winner]
) -> dict[str, list[list[Any]]]:
    """radio -> row -> texts of the live columns, for the page's radio switch.

    The note, which comes last, brings its sort value and tone: ``[text, sort, tone]``.
    """
    found: dict[str, list[list[Any]]] = {}
    for radio in data.radios:
        lines = [radio_cells(option, radio.name, best) for option in rows]
        found[radio.name] = [
            [*(line[name].text for name in LIVE[:-1]), _note_cell(line["note"])] for line in lines
        ]
    return found


def _note_cell(note: Cell) -> list[Any]:
    return [note.text, note.sort, note.tone] if note.text else []


def _figure(data: ReportData, best: Sequence[Winner]) -> Figure:
    radio = data.radios[0].name
    parts = []
    for board in data.boards:
        key = next(
            (
                w.key
                for w in best
                if (w.board, w.radio, w.target) == (board.name, radio, Target.LATENCY)
            ),
            None,
        )
        if key is not None:
            option = next(o for o in data.options if o.board == board.name and o.split.key == key)
            cost = total(option, radio, Target.LATENCY)
            assert cost is not None
            parts.append(
                f"{text.seconds(cost.median)} on the {board.title} ({short(option.split)})"
            )
    says = f" The fastest over {radio}: {text.listed(parts)}." if parts else ""
    which = "fastest number of channels"
    which += " that the limits allow" if limits_known(data.options) else ", limits not applied"
    return Figure(
        id="f-partitions",
        title="Latency by cut",
        sentence=f"Each cut with its {which}: time on the device, on "
        f"the air and in the cloud.{says}",
        panels=tuple(
            Panel(f"c-partitions-{slug(board.name)}", board.title, chart)
            for board in data.boards
            if (chart := _chart(data, board.name)) is not None
        ),
        note="Cuts without a bar cannot run on the board, are not fully measured or break a "
        "limit; the table says which. Each panel has its own scale. The numbers are in the "
        "table below.",
    )


def fastest_by_cut(
    options: Sequence[PartitionRow], board: str, radio: str
) -> tuple[PartitionRow, ...]:
    """For each cut with an allowed split, the channel count with the least total latency."""
    found: dict[int, tuple[float, PartitionRow]] = {}
    for option in options:
        cost = total(option, radio, Target.LATENCY)
        if option.board != board or not allowed(option, radio) or cost is None:
            continue
        layers = option.split.layers
        if layers not in found or cost.median < found[layers][0]:
            found[layers] = (cost.median, option)
    return tuple(found[layers][1] for layers in sorted(found))


def _chart(data: ReportData, board: str) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = []
    for radio in data.radios:
        for option in fastest_by_cut(data.options, board, radio.name):
            rows += _bar(option, radio.name)
    if not rows:
        return None
    cuts = {o.split.layers: o.split.cut for o in data.options if o.board == board}
    names = [cuts[layers] for layers in sorted(cuts)]
    picked = alt.param(name=charts.RADIO, value=data.radios[0].name)
    axis = alt.Axis(labelAngle=-60, labelLimit=90, title=None, ticks=False)
    bars = (
        alt.Chart(charts.named("cuts"))
        .transform_filter(f"datum.radio === {charts.RADIO}")
        .mark_bar()
        .encode(
            x=alt.X("cut:N", scale=alt.Scale(domain=names), axis=axis),
            y=alt.Y("ms:Q", stack="zero", title="latency (ms)"),
            order=alt.Order("order:Q"),
            color=charts.part_colour(("device", "radio", "cloud")),
            tooltip=[
                alt.Tooltip("cut:N"),
                alt.Tooltip("channels:N"),
                alt.Tooltip("part:N"),
                alt.Tooltip("ms:Q"),
            ],
        )
        .add_params(picked)
    )
    return charts.spec(bars, 240, cuts=rows)


def _bar(option: PartitionRow, radio: str) -> list[dict[str, Any]]:
    link = option.link(radio)
    assert link is not None and option.device_s is not None and option.cloud_s is not None
    parts = ("device", option.device_s.median), ("radio", link.latency_s)
    return [
        {
            "radio": radio,
            "cut": option.split.cut,
            "channels": f"{option.split.channels}/{option.split.of_channels}",
            "part": part,
            "order": order,
            "ms": float(f"{value * 1e3:.4g}"),
        }
        for order, (part, value) in enumerate((*parts, ("cloud", option.cloud_s.median)))
    ]
