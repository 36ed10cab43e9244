"""Windows between two timestamps of the EnergyRunner protocol: falling edges of a line idling high.

Sources: docs/energyrunner.md; benchmark/runner of mlcommons/tiny, which takes the last two edges of
an inference, however long the line stays low. Here a timestamp is a low of about the time for which
a firmware holds it, and an inference has two: any other record shows something else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform
from hil.measure.estimates import count_estimated, estimate_limit_w

# Samples a level must last; one sample is what crosstalk looks like.
MIN_RUN = 2
# Times the hold: a low that is shorter is a disturbance, a longer one no timestamp.
LEAST_HOLD, MOST_HOLD = 0.5, 2.0


@dataclass(frozen=True)
class TimestampWindow:
    """What was drawn between two falling edges.

    ``edge_uncertainty_uj`` is how much ``energy_uj`` changes when both edges move within the
    samples that they lie between, half a sample either way; ``estimate_limit_uj`` how much it may
    be off because some of the samples are the meter's estimates.
    """

    duration_s: float
    energy_uj: float
    edge_uncertainty_uj: float
    estimate_limit_uj: float = 0.0


def timestamp_window(waveform: Waveform, hold_s: float) -> TimestampWindow:
    """The window between the two timestamps, which hold the line low for ``hold_s``.

    InstrumentError: lost or clipped samples, too many estimated ones, a meter that is blind around
    edges, a sample interval that cannot show a timestamp, not two timestamps, a line that is held
    low otherwise, or a record that may not show the last one.
    """
    _refuse_unusable(waveform, hold_s)
    longest = MOST_HOLD * hold_s / waveform.sample_interval_s
    marker = _without_glitches(waveform.marker, longest)
    falls, lengths = _lows(marker)
    lows_s = lengths * waveform.sample_interval_s
    _refuse_other_lows(waveform, marker, lows_s, hold_s)
    start, stop = falls[lows_s >= LEAST_HOLD * hold_s].tolist()
    estimated = count_estimated(waveform, start, stop, "the window")
    power_w = waveform.power_w
    sample_uj = waveform.sample_interval_s * 1e6
    # The sample beside an edge tells what half a sample more or less would have drawn.
    beside_w = sum(max(power_w[edge - 1], power_w[edge]) for edge in (start, stop))
    return TimestampWindow(
        duration_s=(stop - start) * waveform.sample_interval_s,
        energy_uj=float(power_w[start:stop].sum()) * sample_uj,
        edge_uncertainty_uj=float(beside_w) / 2 * sample_uj,
        estimate_limit_uj=estimate_limit_w(power_w[start:stop], estimated) * sample_uj,
    )


def _without_glitches(marker: np.ndarray, longest: float) -> np.ndarray:
    """The marker without levels shorter than MIN_RUN: highs within a low, then lows.

    A high between two timestamps is an inference, however short: a low that is longer than
    ``longest`` samples without its highs keeps them.
    """
    bridged = _without_short(marker, True)
    for fall, length in zip(*_lows(bridged), strict=True):
        if length > longest:
            bridged[fall : fall + length] = marker[fall : fall + length]
    return _without_short(bridged, False)


def _without_short(marker: np.ndarray, level: bool) -> np.ndarray:
    """A copy in which no stretch of ``level`` is shorter than MIN_RUN, but at either end."""
    cleaned = marker.copy()
    borders = np.flatnonzero(marker[1:] != marker[:-1]) + 1
    starts, ends = borders[:-1], borders[1:]
    short = (ends - starts < MIN_RUN) & (marker[starts] == level)
    for start, end in zip(starts[short], ends[short], strict=True):
        cleaned[start:end] = not level
    return cleaned


def _lows(marker: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First samples and lengths of the stretches behind a high one in which the marker is low."""
    falls = np.flatnonzero(marker[:-1] & ~marker[1:]) + 1
    rises = np.append(np.flatnonzero(~marker[:-1] & marker[1:]) + 1, len(marker))
    ends = rises[np.searchsorted(rises, falls)]
    return falls, ends - falls


def _refuse_other_lows(
    waveform: Waveform, marker: np.ndarray, lows_s: np.ndarray, hold_s: float
) -> None:
    """InstrumentError unless the line shows two timestamps and is high at the end."""
    behind = round(hold_s / waveform.sample_interval_s) + 1
    if not marker[-behind:].all():
        raise InstrumentError(
            f"{waveform.meter}: the line is not high for a timestamp's {hold_s * 1e6:g} us at the "
            "end of the record, which may lack its end; acquire for longer"
        )
    if (lows_s > MOST_HOLD * hold_s).any():
        raise InstrumentError(
            f"{waveform.meter}: the line was low for {lows_s.max() * 1e6:.4g} us, a timestamp is "
            f"{hold_s * 1e6:g} us; was the board reset, and is this firmware of energy mode?"
        )
    stamps = int(np.count_nonzero(lows_s >= LEAST_HOLD * hold_s))
    if stamps != 2:
        raise InstrumentError(
            f"{waveform.meter}: {stamps} timestamps in {waveform.duration_s:.4g} s, an "
            "inference has two; check the marker wire and its level, and that the firmware is the "
            "one for energy mode, or acquire for longer"
        )


def _refuse_unusable(waveform: Waveform, hold_s: float) -> None:
    if waveform.lost_samples:
        raise InstrumentError(
            f"{waveform.meter}: {waveform.lost_samples} samples were lost among {len(waveform)}; "
            "repeat the acquisition, or lower the rate"
        )
    if waveform.overload:
        raise InstrumentError(
            f"{waveform.meter}: samples are clipped; choose a range above {waveform.range_a:g} A"
        )
    if waveform.edge_uncertainty_s:
        raise InstrumentError(
            f"{waveform.meter}: it knows edges of the marker to "
            f"+-{waveform.edge_uncertainty_s * 1e6:.3g} us only and takes the line for low at the "
            "start; timestamps need a meter that samples the marker"
        )
    if MIN_RUN * waveform.sample_interval_s > hold_s:
        raise InstrumentError(
            f"{waveform.meter}: a sample every {waveform.sample_interval_s * 1e6:g} us cannot show "
            f"a timestamp of {hold_s * 1e6:g} us; set [meter] sample_rate_hz to "
            f"{MIN_RUN / hold_s:g} or more"
        )
