"""What all Altair charts of the report share, and the step from a chart to its spec.

Colours are CSS variables of the page: the SVG follows the theme (and the printer) without
being drawn again. Charts take the width of their container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt

BOARD_COLOURS = ("var(--board-1)", "var(--board-2)", "var(--board-3)", "var(--board-4)")
PART_COLOURS = {
    "compute": "var(--part-compute)",
    "copy": "var(--part-copy)",
    "other": "var(--part-other)",
    "device": "var(--part-compute)",
    "radio": "var(--part-copy)",
    "cloud": "var(--part-other)",
}
# Point shapes in the order of the boards: colour is never the only sign.
BOARD_SHAPES = ("circle", "triangle-up", "square", "diamond")
# Cuts repeat after four colours and five shapes, so twenty of them still look different.
CUT_COLOURS = BOARD_COLOURS
CUT_SHAPES = (*BOARD_SHAPES, "cross")

TOP = alt.Legend(orient="top", title=None)

# The page sets these signals; -1: no layer picked.
PICKED = "picked"
RADIO = "radio"


def named(name: str) -> alt.NamedData:
    """Data that ``spec`` brings under that name: Altair would check every row one by one."""
    return alt.NamedData(name=name)


def board_colour(titles: list[str]) -> alt.Color:
    """Colour by board, in the boards' order."""
    scale = alt.Scale(domain=titles, range=[*BOARD_COLOURS[: len(titles)]])
    return alt.Color("board:N", scale=scale, legend=TOP)


def part_colour(parts: Iterable[str]) -> alt.Color:
    """Colour by part of a time, from the bottom of the bar up."""
    names = list(parts)
    scale = alt.Scale(domain=names, range=[PART_COLOURS[name] for name in names])
    legend = alt.Legend(orient="top", title=None, symbolType="square")
    return alt.Color("part:N", scale=scale, legend=legend)


def picked_layer() -> alt.Parameter:
    return alt.param(name=PICKED, value=-1)


def picked_opacity(dimmed: float = 0.3) -> Any:
    """Full opacity for the picked layer, or for all while none is picked."""
    test = f"{PICKED} < 0 || datum.layer === {PICKED}"
    return alt.condition(test, alt.value(1.0), alt.value(dimmed))


def spec(chart: Any, height: int, **datasets: list[dict[str, Any]]) -> dict[str, Any]:
    """The chart with its named data as Vega-Lite, without a theme: the page brings that."""
    sized = chart.properties(width="container", height=height)
    made = sized.to_dict(validate=True)
    made.pop("config", None)
    made["autosize"] = {"type": "fit-x", "contains": "padding"}
    made["datasets"] = datasets
    return made


def compact(chart: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with its datasets by column: ``{"rows": n, "columns": {name: values}}``.

    A column of words is ``{"words": ..., "at": indices}``. Rows of objects repeat every key and
    word; for a page of curves that is two thirds of its data. ``charts.js`` makes rows again.
    """
    return {
        **chart,
        "datasets": {name: _columns(rows) for name, rows in chart["datasets"].items()},
    }


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = list(rows[0]) if rows else []
    columns = {name: [row[name] for row in rows] for name in names}
    return {
        "rows": len(rows),
        "columns": {name: _words(column) for name, column in columns.items()},
    }


def _words(column: list[Any]) -> list[Any] | dict[str, Any]:
    if not all(isinstance(value, str) for value in column):
        return column
    words = list(dict.fromkeys(column))
    place = {word: i for i, word in enumerate(words)}
    return {"words": words, "at": [place[value] for value in column]}
