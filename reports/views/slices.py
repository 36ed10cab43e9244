"""What every trained slice is worth: accuracy against bytes, and how the slices were learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from reports import charts, text
from reports.model import EpochRow, ReportData, SliceRow, SlicingReport
from reports.views.decision import accuracy
from reports.views.parts import (
    Cell,
    Column,
    Figure,
    Panel,
    Row,
    Section,
    Table,
    columns,
    number,
    slug,
    whole,
    word,
)

# What the firmware sends, and the bits that the paper found harmless (section 5.8).
SENT_BITS = 8
CODED_BITS = 6
# Marks of the legend are faint otherwise: they take the intervals' opacity.
_CUTS = alt.Legend(orient="top", title=None, symbolOpacity=1)
# "Nearly as good": top-1 within this of the best slice.
NEAR = 0.01


def section(data: ReportData) -> Section:
    slicing = data.slicing
    if slicing is None:
        return Section(
            "slices",
            "Slices",
            ("The network was not trained for slices: channels that are not sent count as zero.",),
        )
    figures = [_worth(slicing)]
    if slicing.epochs:
        figures.append(_learning(slicing))
    rows = tuple(Row((word(name), word(value))) for name, value in slicing.facts.items())
    facts = Table(
        "t-slicing",
        "Recipe and data of the slices",
        columns("fact", "value", words=("fact", "value")),
        rows,
    )
    return Section("slices", "Slices", (_lead(slicing),), tuple(figures), (facts,))


def cut_names(slicing: SlicingReport) -> list[str]:
    """The sliced cuts in the order of the network."""
    return list(dict.fromkeys(row.cut for row in slicing.slices))


def coded_bits(slicing: SlicingReport) -> int:
    """The bits that the coded curve shows: the paper's, or the fewest there are above them."""
    known = sorted({row.bits for row in slicing.slices})
    return next((bits for bits in known if bits >= CODED_BITS), known[-1])


def _with_bits(slicing: SlicingReport, bits: int) -> list[SliceRow]:
    return [row for row in slicing.slices if row.bits == bits]


def _lead(slicing: SlicingReport) -> str:
    sent = _with_bits(slicing, SENT_BITS)
    counts = [f"{sum(row.cut == cut for row in sent)} at {cut}" for cut in cut_names(slicing)]
    images = max(row.accuracy.n for row in slicing.slices)
    return (
        f"{text.plural(len(sent), 'trained slice')}: {text.listed(counts)}, each evaluated on "
        f"{images:,} images with the integers that the boards compute and its own tail."
    )


def _worth(slicing: SlicingReport) -> Figure:
    bits = coded_bits(slicing)
    return Figure(
        id="f-slices",
        title="Accuracy against bytes",
        sentence=_says(slicing),
        panels=(Panel("c-slices", "", _worth_chart(slicing, bits)),),
        table=_table(slicing),
        note="Upright lines are 95 % intervals over images. Bytes are a slice's payload; a frame "
        f"adds 24. Boards send raw 8-bit values; for range-coded slices ({bits} bits a value, mean "
        "bytes over images) the coder's time on the device is not measured.",
        wide=True,
    )


def cheapest_near(rows: Sequence[SliceRow], best: float) -> SliceRow | None:
    """The smallest slice whose top-1 is within ``NEAR`` of ``best``."""
    near = [row for row in rows if row.accuracy.median >= best - NEAR]
    return min(near, key=lambda row: row.channels) if near else None


def _says(slicing: SlicingReport) -> str:
    bits = coded_bits(slicing)
    sent, coded = _with_bits(slicing, SENT_BITS), _with_bits(slicing, bits)
    if not sent:
        return "Top-1 of every slice against its bytes on the air."
    best = max(row.accuracy.median for row in sent)
    parts = []
    for cut in cut_names(slicing):
        raw = cheapest_near([row for row in sent if row.cut == cut], best)
        if raw is None:
            parts.append(f"{cut} gets there with no slice")
            continue
        part = f"{cut} needs {raw.channels} of {raw.of_channels} channels"
        part += f", {text.byte_count(raw.raw_bytes)} raw"
        ranged = cheapest_near([row for row in coded if row.cut == cut], best)
        if ranged is not None:
            size = text.byte_count(round(ranged.range_bytes))
            part += f" or {size} range-coded with {bits} bits"
            if ranged.channels != raw.channels:
                part += f" ({ranged.channels} channels)"
        parts.append(part)
    return (
        f"To stay within {100 * NEAR:g} percentage point of the best slice "
        f"({text.percent(best)} of images right), {'; '.join(parts)}."
    )


def _worth_chart(slicing: SlicingReport, bits: int) -> dict[str, Any]:
    names = ("raw, 8 bits", f"range-coded, {bits} bits")
    rows = [_point(row, names[0], row.raw_bytes) for row in _with_bits(slicing, SENT_BITS)] + [
        _point(row, names[1], row.range_bytes) for row in _with_bits(slicing, bits)
    ]
    x = alt.X(
        "bytes:Q",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(tickCount=5, format="~s", labelBound=True),
        title="payload (bytes)",
    )
    base = alt.Chart(charts.named("slices")).encode(x=x, color=_cut_colour(slicing))
    y = alt.Y(
        "top1:Q",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(format="%", tickCount=6),
        title="top-1",
    )
    dash = alt.StrokeDash(
        "coding:N",
        scale=alt.Scale(domain=list(names), range=[[1, 0], [5, 3]]),
        # Within the plot, where no curve can be: more bytes are never worse by much.
        legend=alt.Legend(orient="bottom-right", title=None, symbolSize=220),
    )
    lines = base.mark_line(strokeWidth=1.8).encode(y=y, strokeDash=dash)
    spreads = base.mark_rule(strokeWidth=1, opacity=0.55).encode(y="lo:Q", y2="hi:Q")
    points = base.mark_point(filled=True, size=44, opacity=1).encode(
        y="top1:Q",
        shape=_cut_shape(slicing),
        tooltip=[
            alt.Tooltip("cut:N"),
            alt.Tooltip("channels:N"),
            alt.Tooltip("coding:N"),
            alt.Tooltip("bytes:Q", format=",.4~r"),
            alt.Tooltip("top1:Q", title="top-1", format=".1%"),
            alt.Tooltip("lo:Q", title="from", format=".1%"),
            alt.Tooltip("hi:Q", title="to", format=".1%"),
        ],
    )
    return charts.spec(alt.layer(spreads, lines, points), 300, slices=rows)


def _point(row: SliceRow, coding: str, size: float) -> dict[str, Any]:
    return {
        "cut": row.cut,
        "channels": f"{row.channels}/{row.of_channels}",
        "coding": coding,
        "bytes": float(f"{size:.5g}"),
        "top1": round(row.accuracy.median, 5),
        "lo": round(row.accuracy.lo, 5),
        "hi": round(row.accuracy.hi, 5),
    }


def _cut_scale(slicing: SlicingReport, looks: Sequence[str]) -> alt.Scale:
    names = cut_names(slicing)
    return alt.Scale(domain=names, range=[looks[i % len(looks)] for i in range(len(names))])


def _cut_colour(slicing: SlicingReport) -> alt.Color:
    return alt.Color("cut:N", scale=_cut_scale(slicing, charts.CUT_COLOURS), legend=_CUTS)


def _cut_shape(slicing: SlicingReport) -> alt.Shape:
    return alt.Shape("cut:N", scale=_cut_scale(slicing, charts.CUT_SHAPES), legend=_CUTS)


def _table(slicing: SlicingReport) -> Table:
    places = {cut: place for place, cut in enumerate(cut_names(slicing))}
    rows = tuple(
        Row(
            (
                Cell(row.cut, places[row.cut]),
                Cell(f"{row.channels}/{row.of_channels}", row.channels),
                whole(row.bits),
                whole(row.raw_bytes),
                whole(row.packed_bytes),
                number(row.range_bytes, f"{row.range_bytes:,.1f}"),
                accuracy(row.accuracy),
                number(row.accuracy.lo, text.percent(row.accuracy.lo)),
                number(row.accuracy.hi, text.percent(row.accuracy.hi)),
                whole(row.accuracy.n),
            )
        )
        for row in slicing.slices
    )
    cols = (
        *columns("cut", words=("cut",)),
        *columns("channels", "bits"),
        *columns("raw", "packed", "range, mean", group="payload, bytes"),
        *columns("top-1", "from", "to", "images", group="accuracy"),
    )
    return Table("t-slices", "Every slice, by bits and coding", cols, rows, True, 2)


def _learning(slicing: SlicingReport) -> Figure:
    epochs = slicing.epochs
    loss = Panel("c-slice-loss", "Training loss", _loss_chart(epochs))
    tops = [
        Panel(f"c-slice-top1-{slug(cut)}", f"{cut}: top-1 by channels sent", chart)
        for place, cut in enumerate(cut_names(slicing))
        if (chart := _top1_chart(epochs, cut, place)) is not None
    ]
    return Figure(
        id="f-training",
        title="Training of the slices",
        sentence=_learnt(epochs),
        panels=(loss, *tops),
        table=_epoch_table(slicing),
        note="Taken with floats after each epoch; numbers at the lines are channels sent, where "
        "there is room for them. The whole network is in the table if the recipe trains it.",
    )


def _learnt(epochs: Sequence[EpochRow]) -> str:
    first, last = epochs[0], epochs[-1]
    says = f"Loss {text.digits(first.loss)} in the first of {text.plural(len(epochs), 'epoch')}"
    if len(epochs) == 1:
        return f"One epoch, loss {text.digits(last.loss)}."
    says += f" and {text.digits(last.loss)} in the last."
    if last.accuracies:
        low = min(last.accuracies, key=lambda a: a.top1)
        high = max(last.accuracies, key=lambda a: a.top1)
        says += f" Top-1 at the end: {_name(low.cut, low.channels)} {text.percent(low.top1)} to "
        says += f"{_name(high.cut, high.channels)} {text.percent(high.top1)}."
    return says


def _name(cut: str, channels: int) -> str:
    return f"{cut} with {text.plural(channels, 'channel')}" if channels else "the whole network"


def _epoch_axis(epochs: Sequence[EpochRow]) -> alt.X:
    """From 0, so that a log of a single epoch has an axis as well."""
    last = max(row.epoch for row in epochs)
    return alt.X(
        "epoch:Q",
        scale=alt.Scale(domain=[0, last], nice=False),
        axis=alt.Axis(format="d", tickCount=min(8, last)),
        title="epoch",
    )


def _loss_chart(epochs: Sequence[EpochRow]) -> dict[str, Any]:
    rows = [{"epoch": row.epoch, "loss": row.loss} for row in epochs]
    line = (
        alt.Chart(charts.named("epochs"))
        .mark_line(strokeWidth=1.8, color="var(--accent)", point=_marks(epochs, "var(--accent)"))
        .encode(
            x=_epoch_axis(epochs),
            y=alt.Y("loss:Q", scale=alt.Scale(zero=False), title="loss"),
            tooltip=[alt.Tooltip("epoch:Q"), alt.Tooltip("loss:Q")],
        )
    )
    return charts.spec(line, 200, epochs=rows)


def _marks(epochs: Sequence[EpochRow], colour: str) -> dict[str, Any] | bool:
    """Points as well where a line would be short or none."""
    return {"size": 30, "color": colour} if len(epochs) < 4 else False


def _top1_chart(epochs: Sequence[EpochRow], cut: str, place: int) -> dict[str, Any] | None:
    rows = [
        {"epoch": row.epoch, "channels": one.channels, "top1": one.top1}
        for row in epochs
        for one in row.accuracies
        if one.cut == cut
    ]
    if not rows:
        return None
    colour = charts.CUT_COLOURS[place % len(charts.CUT_COLOURS)]
    y = alt.Y(
        "top1:Q", scale=alt.Scale(zero=False), axis=alt.Axis(format="%", tickCount=5), title="top-1"
    )
    base = alt.Chart(charts.named("epochs")).encode(x=_epoch_axis(epochs), y=y)
    lines = base.mark_line(strokeWidth=1.6, color=colour, point=_marks(epochs, colour)).encode(
        detail="channels:O",
        tooltip=[
            alt.Tooltip("epoch:Q"),
            alt.Tooltip("channels:O"),
            alt.Tooltip("top1:Q", title="top-1", format=".1%"),
        ],
    )
    labels = (
        alt.Chart(charts.named("labels"))
        .mark_text(align="left", dx=6, fontSize=11)
        .encode(x="epoch:Q", y="top1:Q", text="channels:O")
    )
    return charts.spec(alt.layer(lines, labels), 200, epochs=rows, labels=_labels(rows))


def _labels(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ends of the lines, from the top, without those that would stand on one another."""
    last = max(row["epoch"] for row in rows)
    span = max(row["top1"] for row in rows) - min(row["top1"] for row in rows)
    shown: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: -row["top1"]):
        if row["epoch"] == last and (not shown or shown[-1]["top1"] - row["top1"] >= span / 16):
            shown.append(row)
    return shown


def _epoch_table(slicing: SlicingReport) -> Table:
    keys = list(
        dict.fromkeys((a.cut, a.channels) for row in slicing.epochs for a in row.accuracies)
    )
    cols = [*columns("epoch", "loss")]
    cols += [
        Column(f"{channels} ch" if channels else "whole", group=cut if channels else "network")
        for cut, channels in keys
    ]
    rows = [_epoch_row(row, keys) for row in slicing.epochs]
    return Table("t-training", "Loss and top-1 by epoch", tuple(cols), tuple(rows), True)


def _epoch_row(row: EpochRow, keys: Iterable[tuple[str, int]]) -> Row:
    tops = {(a.cut, a.channels): a.top1 for a in row.accuracies}
    cells = [whole(row.epoch), number(row.loss, f"{row.loss:.4f}")]
    for key in keys:
        top1 = tops.get(key)
        cells.append(number(top1, None if top1 is None else text.percent(top1)))
    return Row(tuple(cells))
