"""The page as data: its sections in reading order, and what the header says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from hil.core.provenance import Origin
from reports import charts, text
from reports.model import ReportData
from reports.views import (
    breakdown,
    checks,
    decision,
    layers,
    origins,
    partitions,
    slices,
    uncertainty,
    waveform,
)
from reports.views.parts import Section


@dataclass(frozen=True)
class Page:
    """All that the templates lay out. ``boards`` and ``radios`` feed the controls."""

    title: str
    subtitle: str
    banner_kind: Origin
    banner: str
    sections: tuple[Section, ...]
    boards: tuple[tuple[str, str], ...]
    radios: tuple[str, ...]

    @property
    def specs(self) -> dict[str, dict[str, Any]]:
        """Panel id -> Vega-Lite spec with compact data."""
        return {
            panel.id: charts.compact(panel.spec)
            for section in self.sections
            for figure in section.figures
            for panel in figure.panels
        }


def page(data: ReportData) -> Page:
    """Every section, each from the data alone."""
    short = lead_radio_first(short_titles(data))
    kind, banner = origins.banner(short)
    sections = (
        decision.section(short),
        layers.section(short),
        breakdown.section(short),
        partitions.section(short),
        slices.section(short),
        waveform.section(short),
        uncertainty.section(short),
        checks.section(short),
        origins.section(data),
    )
    return Page(
        title=data.title,
        subtitle=_subtitle(data),
        banner_kind=kind,
        banner=banner,
        sections=sections,
        boards=tuple((board.name, board.title) for board in short.boards),
        radios=tuple(radio.name for radio in short.radios),
    )


def short_titles(data: ReportData) -> ReportData:
    """Titles without what stands in brackets, where that tells the boards apart.

    A legend or an axis has room for "GAPuino", not for "GAPuino (GAP8, eight-core cluster)".
    Full titles stay in the subtitle and the provenance.
    """
    short = [board.title.partition(" (")[0] for board in data.boards]
    seen = Counter(short)
    boards = [
        replace(board, title=title) if seen[title] == 1 else board
        for board, title in zip(data.boards, short, strict=True)
    ]
    return replace(data, boards=tuple(boards))


def lead_radio_first(data: ReportData) -> ReportData:
    """Figures and tables open with the radio of the headline."""
    if not data.decisions:
        return data
    lead = data.decisions[0].radio
    return replace(data, radios=tuple(sorted(data.radios, key=lambda radio: radio.name != lead)))


def _subtitle(data: ReportData) -> str:
    boards = text.listed([board.title for board in data.boards])
    return f"{data.run.network} on {boards}. Run {data.run.name}, {text.moment(data.run.started)}."
