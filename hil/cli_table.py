"""Tables that fit a terminal of 80 columns."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

_COLUMNS = 80


def plain_table(title: str, *columns: str, caption: str = "") -> Table:
    """The first column is text, the others are right-aligned numbers.

    As wide as its title at least, which would else be broken into several lines.
    """
    table = Table(
        title=title,
        caption=caption or None,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        min_width=min(_COLUMNS, max(len(title), len(caption))),
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
