"""Windows between two timestamps of the EnergyRunner protocol: falling edges of a line idling high.

Sources: docs/energyrunner.md; benchmark/runner of mlcommons/tiny, which takes the last two edges of
an inference, since a board may give more of them before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.core.errors import InstrumentError
from hil.core.waveform import Waveform

# Samples a level must last; one sample is what crosstalk looks like.
MIN_RUN = 2


@dataclass(frozen=True)
class TimestampWindow:
    """What was drawn between two falling edges.

    ``edge_uncertainty_uj`` is how much ``energy_uj`` changes when both edges move within the
    samples that they lie between, half a sample either way.
    """

    duration_s: float
    energy_uj: float
    edge_uncertainty_uj: float


def timestamp_window(waveform: Waveform, hold_s: float) -> TimestampWindow:
    """The window between the last two timestamps, which hold the line low for ``hold_s``.

    InstrumentError: lost or clipped samples, a meter that is blind around edges, a sample interval
    that cannot show a timestamp or fewer than two timestamps.
    """
    _refuse_unusable(waveform, hold_s)
    falls, lengths = _lows(waveform.marker)
    falls = falls[lengths >= MIN_RUN]
    if len(falls) < 2:
        raise InstrumentError(
            f"{waveform.meter}: {len(falls)} timestamps in {waveform.duration_s:.4g} s, an "
            "inference has two; check the marker wire and its level, and that the firmware is the "
            "one for energy mode, or acquire for longer"
        )
    start, stop = (int(fall) for fall in falls[-2:])
    power_w = waveform.power_w
    sample_uj = waveform.sample_interval_s * 1e6
    # The sample beside an edge tells what half a sample more or less would have drawn.
    beside_w = sum(max(power_w[edge - 1], power_w[edge]) for edge in (start, stop))
    return TimestampWindow(
        duration_s=(stop - start) * waveform.sample_interval_s,
        energy_uj=float(power_w[start:stop].sum()) * sample_uj,
        edge_uncertainty_uj=float(beside_w) / 2 * sample_uj,
    )


def _lows(marker: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First samples and lengths of the stretches behind a high one in which the marker is low."""
    falls = np.flatnonzero(marker[:-1] & ~marker[1:]) + 1
    rises = np.append(np.flatnonzero(~marker[:-1] & marker[1:]) + 1, len(marker))
    ends = rises[np.searchsorted(rises, falls)]
    return falls, ends - falls


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
