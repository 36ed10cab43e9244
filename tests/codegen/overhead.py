"""Does the firmware tell rightly what marker and counter add? Judged by the chip's own edges."""

from __future__ import annotations

import numpy as np
from device import Device


def check_overhead(device: Device, layers: int, clock_hz: float) -> None:
    """Empty windows first, then the same layers once and ten times."""
    device.chip.marker_drain()
    rise, passed, fall, layer = device.empty_windows(12, 30).T
    outside = np.array(device.marked_cycles(clock_hz)) - passed
    # The first window finds empty caches. In the others the fall tells what the edges are apart
    # beside the count; the rise differs by what the compiler puts before it.
    assert np.abs(outside - fall)[1:].max() <= 2
    assert np.abs(outside - rise)[1:].max() <= 12
    assert 0 < np.median(layer) <= np.median(passed) < 100
    marker_cycles, pass_cycles = np.median(fall), np.median(passed)

    device.repeat_layers([1] * layers, 30)  # everything has run
    device.chip.marker_drain()
    a_pass: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for passes in (1, 10):
        counted = np.array(device.repeat_layers([passes] * layers, 30))
        marked = np.array(device.marked_cycles(clock_hz))
        # Other layers may have put the marker's code out of the caches: never less than told.
        farthest = max(np.abs(outside - marker_cycles).max(), 2)
        assert np.abs(marked - counted - marker_cycles).max() <= farthest
        work = marked - marker_cycles - passes * pass_cycles
        a_pass[passes] = marked / passes, work / passes
    before, after = (
        np.abs(once - often) for once, often in zip(a_pass[1], a_pass[10], strict=True)
    )
    assert (after < before - 0.8 * 0.9 * marker_cycles).all()
