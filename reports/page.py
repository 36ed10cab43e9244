"""The page as data: its sections in reading order, and what the header says."""

from __future__ import annotations

from dataclasses import dataclass
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
    kind, banner = origins.banner(data)
    sections = (
        decision.section(data),
        layers.section(data),
        breakdown.section(data),
        partitions.section(data),
        waveform.section(data),
        checks.section(data),
        origins.section(data),
    )
    return Page(
        title=data.title,
        subtitle=_subtitle(data),
        banner_kind=kind,
        banner=banner,
        sections=sections,
        boards=tuple((board.name, board.title) for board in data.boards),
        radios=tuple(radio.name for radio in data.radios),
    )


def _subtitle(data: ReportData) -> str:
    boards = text.listed([board.title for board in data.boards])
    return f"{data.run.network} on {boards}. Run {data.run.name}, {data.run.started}."
