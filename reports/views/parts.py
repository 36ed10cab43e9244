"""What the page is made of: tables, figures, sections. Templates only lay them out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hil.core.cost import Interval
from hil.core.provenance import Origin
from reports import text


@dataclass(frozen=True)
class Cell:
    """A table cell. ``sort`` orders the column (empty cells go last), ``hint`` says more."""

    text: str
    sort: float | str | None = None
    hint: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """``group`` is a heading over neighbouring columns; ``live`` names a value the page swaps."""

    label: str
    numeric: bool = True
    group: str = ""
    live: str = ""


@dataclass(frozen=True)
class Row:
    """``data`` becomes data attributes, for filters and selection; ``tone`` a class."""

    cells: tuple[Cell, ...]
    data: dict[str, str] = field(default_factory=dict)
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a caption. The first ``row_heads`` cells of a row are its heading."""

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sortable: bool = False
    row_heads: int = 1

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """Runs of neighbouring columns with the same group; empty without any group."""
        if not any(column.group for column in self.columns):
            return ()
        runs: list[tuple[str, int]] = []
        for column in self.columns:
            if runs and runs[-1][0] == column.group:
                runs[-1] = (column.group, runs[-1][1] + 1)
            else:
                runs.append((column.group, 1))
        return tuple(runs)


@dataclass(frozen=True)
class Panel:
    """One chart of a figure; ``spec`` is Vega-Lite, ``label`` its heading when there are more."""

    id: str
    label: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class Badge:
    """How a number came about, in a word; ``kind`` picks mark and colour."""

    kind: Origin
    text: str


@dataclass(frozen=True)
class Figure:
    """``sentence``: what it shows and what it says this time."""

    id: str
    title: str
    sentence: str
    panels: tuple[Panel, ...] = ()
    table: Table | None = None
    note: str = ""
    badges: tuple[Badge, ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page. ``template`` lays it out; ``extra`` are values only it knows."""

    id: str
    title: str
    lead: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    template: str = "section.html.j2"
    extra: dict[str, Any] = field(default_factory=dict)


def slug(name: str) -> str:
    """``name`` as an element id: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"


def word(value: str, hint: str = "", tone: str = "") -> Cell:
    return Cell(value, value.lower(), hint, tone)


def number(value: float | None, shown: str | None = None, hint: str = "") -> Cell:
    """A number that may be missing; ``shown`` is its text, else three significant digits."""
    if value is None:
        return Cell("–", None, text.NOT_MEASURED, "muted")
    return Cell(text.digits(value) if shown is None else shown, value, hint)


def whole(value: float | None) -> Cell:
    return number(value, None if value is None else text.count(value))


def median(interval: Interval | None, scale: float = 1.0, significant: int = 4) -> Cell:
    """The median times ``scale``, with bounds and n as its hint."""
    if interval is None:
        return number(None)
    value = interval.median * scale
    return Cell(text.digits(value, significant), value, text.origin_of(interval.scaled(scale)))


def spread(interval: Interval | None) -> Cell:
    """How wide the interval is, relative to its median."""
    if interval is None:
        return number(None)
    wider = max(interval.below, interval.above)
    relative = wider / abs(interval.median) if interval.median else wider
    tone = "" if interval.known else "warn"
    return Cell(text.spread(interval), relative, text.origin_of(interval), tone)


def bounds(interval: Interval | None, scale: float = 1.0) -> tuple[Cell, Cell, Cell]:
    """Low, high, n."""
    if interval is None:
        return number(None), number(None), number(None)
    return (
        number(interval.lo * scale, text.digits(interval.lo * scale, 5)),
        number(interval.hi * scale, text.digits(interval.hi * scale, 5)),
        whole(interval.n),
    )


def columns(*labels: str, words: Iterable[str] = (), group: str = "") -> tuple[Column, ...]:
    """Numeric columns, except those listed in ``words``."""
    texts = set(words)
    return tuple(Column(label, label not in texts, group) for label in labels)
