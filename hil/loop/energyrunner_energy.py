"""MLPerf Tiny's energy test, run from here: a firmware in energy mode, and the rig's own meter.

Five windows on five images, each between the two falling edges of the marker; the result is
the median of the five energies an inference (MLPerfTiny_Rules.adoc, benchmark/runner/main.py). The
rules want windows of 10 s and more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from hil.core.cost import Interval
from hil.core.energyrunner import HOLD_S
from hil.core.errors import DataError, InstrumentError
from hil.core.provenance import Origin
from hil.loop.energyrunner import (
    FORMAT,
    LOOPS,
    RULE_ITERATIONS,
    RULE_WINDOW_S,
    SLOWEST_INFERENCE_S,
    WINDOW_MARGIN,
    Device,
    Provenance,
    Report,
)
from hil.measure.intervals import median_interval
from hil.measure.timestamps import MOST_HOLD, TimestampWindow, timestamp_window
from hil.rig.energyrunner import BITS_PER_BYTE

WARMUPS = {"ic01": 0, "vww01": 5}  # tests_energy.yaml
# Of the command and of the board's lines in front of the first timestamp and behind the last one.
WIRE_BYTES = 128
# The same work takes the same time; a window that does not is not the one that was asked for.
SPEED_TOLERANCE = 0.01
# One inference, with cold caches, tells so well how long one of many takes.
FIRST_TOLERANCE = 0.1
ATTEMPTS = 6  # to make a window long enough


@dataclass(frozen=True)
class EnergyWindow:
    """One window on one image, between two timestamps."""

    image: int
    iterations: int
    duration_s: float
    energy_uj: float
    edge_uncertainty_uj: float
    estimate_limit_uj: float = 0.0

    @property
    def energy_uj_per_inference(self) -> float:
        return self.energy_uj / self.iterations

    @property
    def inferences_per_s(self) -> float:
        return self.iterations / self.duration_s


@dataclass(frozen=True)
class Energy:
    """Five windows. ``by_the_rules``: each lasted 10 s and more."""

    provenance: Provenance
    windows: tuple[EnergyWindow, ...]

    @property
    def energy_uj(self) -> Interval:
        """Microjoules an inference: the median, and the interval that five samples give."""
        return median_interval([window.energy_uj_per_inference for window in self.windows])

    @property
    def throughput(self) -> Interval:
        """Inferences a second in the same windows."""
        return median_interval([window.inferences_per_s for window in self.windows])

    @property
    def by_the_rules(self) -> bool:
        return all(window.duration_s >= RULE_WINDOW_S for window in self.windows)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "test": "energy",
            "provenance": asdict(self.provenance),
            "by_the_rules": self.by_the_rules,
            "energy_uj_per_inference": asdict(self.energy_uj),
            "inferences_per_s": asdict(self.throughput),
            "windows": [
                {
                    **asdict(window),
                    "energy_uj_per_inference": window.energy_uj_per_inference,
                    "inferences_per_s": window.inferences_per_s,
                }
                for window in self.windows
            ],
        }


def measure_energy(
    device: Device, min_window_s: float | None = None, report: Report = print
) -> Energy:
    """Energy an inference over LOOPS images; ``min_window_s`` as for the performance test.

    InstrumentError when the marker does not show two timestamps an inference, or not the time
    between them that so many inferences take.
    """
    if len(device.images) < LOOPS:
        raise DataError(
            f"{device.images.name}: {len(device.images)} images, the test takes {LOOPS} different"
        )
    if min_window_s is None:
        min_window_s = RULE_WINDOW_S if device.provenance.energies is Origin.MEASURED else 0.0
    iterations, first = _long_enough(device, min_window_s)
    windows: list[EnergyWindow] = []
    for image in range(LOOPS):
        found = first
        if image:
            device.load(image)
            found = _window(device, image, iterations, first.duration_s / iterations)
            _check_duration(device, found, first, min_window_s)
        window = EnergyWindow(
            image, iterations, found.duration_s, found.energy_uj, found.edge_uncertainty_uj,
            found.estimate_limit_uj,
        )  # fmt: skip
        report(
            f"image {image}: {iterations} in {window.duration_s:.6g} s, "
            f"{window.energy_uj_per_inference:.4f} uJ each"
        )
        windows.append(window)
    return Energy(device.provenance, tuple(windows))


def _long_enough(device: Device, min_window_s: float) -> tuple[int, TimestampWindow]:
    """So many inferences that a window lasts ``min_window_s``, and image 0's window of them."""
    device.load(0)
    iterations, inference_s, found = 1, SLOWEST_INFERENCE_S, None
    for _ in range(ATTEMPTS):
        before, found = found, _window(device, 0, iterations, inference_s)
        if before is not None:
            _check_first(device, found, iterations, inference_s)
        if iterations >= RULE_ITERATIONS and found.duration_s >= min_window_s:
            return iterations, found
        # The timestamp itself is in the window: a short one makes inferences look slow.
        inference_s = found.duration_s / iterations
        iterations = max(RULE_ITERATIONS, ceil(WINDOW_MARGIN * min_window_s / inference_s))
    assert found is not None
    raise InstrumentError(
        f"{device.provenance.meter}: {iterations} inferences were to last {min_window_s:g} s and "
        f"lasted {found.duration_s:.6g} s by the marker; is its line clean?"
    )


def _window(device: Device, image: int, iterations: int, inference_s: float) -> TimestampWindow:
    """Infer on the loaded image while the meter looks."""
    assert device.meter is not None, "a device that was opened has its rig's meter"
    warmups = WARMUPS[device.provenance.model]
    work_s = (warmups + iterations) * inference_s
    wire_s = WIRE_BYTES * BITS_PER_BYTE / device.console.baud
    with device.meter.acquisition(work_s + wire_s) as acquisition:
        device.infer_loaded(image, iterations, warmups, 2 * work_s)
        return timestamp_window(acquisition.read(), HOLD_S)


def _check_first(
    device: Device, found: TimestampWindow, iterations: int, inference_s: float
) -> None:
    """``inference_s`` is of an earlier window, with its timestamp in it."""
    most_s = (1 + FIRST_TOLERANCE) * iterations * inference_s
    least_s = (1 - FIRST_TOLERANCE) * iterations * (inference_s - MOST_HOLD * HOLD_S)
    if not least_s <= found.duration_s <= most_s:
        raise InstrumentError(
            f"{device.provenance.meter}: {iterations} inferences lasted {found.duration_s:.6g} s "
            f"by the marker, fewer of them {inference_s:.6g} s each; is the marker line clean?"
        )


def _check_duration(
    device: Device, found: TimestampWindow, first: TimestampWindow, least_s: float
) -> None:
    # Each end is known to a sample, of which a timestamp has two or more.
    most_off_s = SPEED_TOLERANCE * first.duration_s + HOLD_S
    if found.duration_s < least_s or abs(found.duration_s - first.duration_s) > most_off_s:
        raise InstrumentError(
            f"{device.provenance.meter}: a window lasted {found.duration_s:.6g} s by the marker, "
            f"the first one with as many inferences {first.duration_s:.6g} s, and {least_s:g} s is "
            "the least; is the marker line clean, and the board's clock steady?"
        )
