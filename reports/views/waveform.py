"""What the meter saw: the sampled current with the marked windows, ready for the explorer."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports import decimate, text
from reports.model import BoardReport, LayerWindow, ReportData, WaveformView
from reports.views.layers import badge_energy
from reports.views.parts import Figure, Row, Section, Table, columns, number, slug, whole, word

# More level changes than this are not drawn: a page cannot show them apart.
MAX_EDGES = 20_000


def section(data: ReportData) -> Section:
    figures, payload = [], {}
    for board in data.boards:
        if board.waveform is not None:
            drawn = decimate.packed(board.waveform.current_a)
            figures.append(_figure(board, board.waveform, drawn))
            payload[slug(board.name)] = _payload(board.waveform, drawn)
    lead = () if figures else ("No power was measured in this run.",)
    return Section(
        id="waveform",
        title="Power waveform",
        lead=lead,
        figures=tuple(figures),
        template="waveform.html.j2",
        extra={"payload": payload},
    )


def _figure(board: BoardReport, wave: WaveformView, drawn: decimate.PackedBand) -> Figure:
    return Figure(
        id=f"f-waveform-{slug(board.name)}",
        title=board.title,
        sentence=_says(board, wave),
        table=_windows_table(board, wave),
        note=_note(wave, drawn),
        badges=(badge_energy(board),),
        wide=True,
    )


def _says(board: BoardReport, wave: WaveformView) -> str:
    seen = np.isfinite(wave.current_a)
    if not seen.any():
        return f"All {len(wave.current_a):,} samples of {wave.file} are missing."
    mean, peak = float(wave.current_a[seen].mean()), float(wave.current_a[seen].max())
    says = (
        f"Current of the {board.title} over {text.seconds(wave.duration_s)} with "
        f"{text.plural(len(wave.windows), 'marked window')}: on average {text.si(mean, 'A')} "
        f"({text.si(mean * wave.supply_v, 'W')} at {text.si(wave.supply_v, 'V')}), at most "
        f"{text.si(peak, 'A')}."
    )
    lost = int((~seen).sum())
    return f"{says} {text.plural(lost, 'sample')} missing, drawn as gaps." if lost else says


def _note(wave: WaveformView, drawn: decimate.PackedBand) -> str:
    bucket = (
        "every sample is drawn"
        if drawn.samples_per_bucket == 1
        else f"drawn as the smallest and largest of every {drawn.samples_per_bucket} samples, so "
        "peaks are kept"
    )
    return (
        f"{len(wave.current_a):,} samples at {text.si(wave.sample_rate_hz, 'Hz')} from "
        f"{wave.meter}; {bucket}, in steps of {text.si(drawn.step_a, 'A', 2)}. Raw data: "
        f"{wave.file}, SHA-256 {wave.sha256[:16]}."
    )


def _payload(wave: WaveformView, drawn: decimate.PackedBand) -> dict[str, Any]:
    """What the explorer's JavaScript needs."""
    changes, level = decimate.edges(wave.marker)
    return {
        "perBucket": drawn.samples_per_bucket,
        "buckets": drawn.buckets,
        "samples": len(wave.current_a),
        "rate": wave.sample_rate_hz,
        "start": wave.start_s,
        "supply": wave.supply_v,
        "offset": drawn.offset_a,
        "step": drawn.step_a,
        "band": drawn.text,
        "marker": {"level": level, "edges": changes if len(changes) <= MAX_EDGES else []},
        "windows": [
            [w.layer, w.name, round(w.start_s, 7), round(w.end_s, 7)] for w in wave.windows
        ],
    }


def mean_power_w(wave: WaveformView, window: LayerWindow) -> float | None:
    """Mean power of the samples inside a window; None if one is missing or none is inside."""
    first = round((window.start_s - wave.start_s) * wave.sample_rate_hz)
    end = round((window.end_s - wave.start_s) * wave.sample_rate_hz)
    inside = wave.current_a[max(0, first) : max(0, end)]
    if not len(inside) or not np.isfinite(inside).all():
        return None
    return float(inside.mean()) * wave.supply_v


def _windows_table(board: BoardReport, wave: WaveformView) -> Table:
    labels = ("layer", "name", "start s", "length ms", "passes", "mean mW", "µJ a pass")
    rows = []
    for window in wave.windows:
        power = mean_power_w(wave, window)
        cells = (
            number(window.layer, "–" if window.layer < 0 else str(window.layer)),
            word(window.name),
            number(window.start_s, f"{window.start_s:.4f}"),
            number((window.end_s - window.start_s) * 1e3),
            whole(window.iterations),
            number(power and power * 1e3),
            number(window.energy_uj / window.iterations),
        )
        rows.append(Row(cells, {"layer": str(window.layer)}))
    name = f"t-windows-{slug(board.name)}"
    return Table(name, "Marked windows", columns(*labels, words=("name",)), tuple(rows), True, 2)
