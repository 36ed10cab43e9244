"""The trials that make up a campaign on one board, planned before anything runs.

Energy and cycle trials of different repeats use different images: the spread of the results
then covers what the data does to the cost, and every repeat has a key of its own to resume by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from hil.core.cost import CostTable
from hil.core.network import Network
from hil.core.trial import TrialKind, Workload
from hil.loop.settings import Settings
from hil.measure.repeats import iterations_for_window


def input_digest(inputs: np.ndarray, image: int) -> str:
    """SHA-256 of an image's bytes as the board gets them."""
    return hashlib.sha256(inputs[image].tobytes()).hexdigest()


def self_test(layers: int, settings: Settings) -> Workload:
    """The cycle counter against an independent timer; no input."""
    return Workload(TrialKind.SELF_TEST, layers, 0, "", repeats=settings.self_tests)


def empty_windows(layers: int, settings: Settings) -> Workload:
    """Windows around nothing: what marker and counter add to all others; no input."""
    return Workload(TrialKind.OVERHEAD, layers, 0, "", repeats=settings.empty_windows)


def layer_passes(inputs: np.ndarray, layers: int, settings: Settings) -> Iterator[Workload]:
    """One pass an image with every layer's cycles and every output checked."""
    for image in range(settings.images):
        yield Workload(TrialKind.LAYERS, layers, image, input_digest(inputs, image), warmups=1)


def partition_passes(
    network: Network, inputs: np.ndarray, layers: int, settings: Settings
) -> Iterator[Workload]:
    """Every partition in the image, timed as a whole."""
    depths = sorted({cut.layers for cut in network.cuts if 0 < cut.layers <= layers} | {layers})
    for depth in depths:
        yield Workload(
            TrialKind.NETWORK,
            depth,
            0,
            input_digest(inputs, 0),
            warmups=1,
            repeats=settings.passes_a_cut,
        )


def energy_sweeps(
    table: CostTable, inputs: np.ndarray, sample_interval_s: float, settings: Settings
) -> Iterator[Workload]:
    """Sweeps over all layers, each repeated until its window is long enough for the meter."""
    counts = tuple(
        iterations_for_window(
            row.name, row.cycles.median, table.clock_hz, sample_interval_s, settings.window
        )
        for row in table.rows
    )
    for sweep in range(settings.energy_sweeps):
        image = sweep % len(inputs)
        yield Workload(
            TrialKind.ENERGY, len(counts), image, input_digest(inputs, image), iterations=counts
        )


def network_windows(
    table: CostTable, inputs: np.ndarray, sample_interval_s: float, settings: Settings
) -> Iterator[Workload]:
    """Windows around passes over the whole partition."""
    cycles = sum(row.cycles.median for row in table.rows)
    count = iterations_for_window(
        "network", cycles, table.clock_hz, sample_interval_s, settings.window
    )
    for window in range(settings.network_windows):
        image = window % len(inputs)
        yield Workload(
            TrialKind.ENERGY,
            len(table.rows),
            image,
            input_digest(inputs, image),
            # A sweep has one count a layer; a single count marks the whole network. A
            # one-layer network would make the two look alike, so it has sweeps only.
            iterations=(count,),
        )


def is_network_window(workload: Workload) -> bool:
    """Whether an energy workload marks the whole network and not every layer."""
    return len(workload.iterations) == 1 and workload.layers > 1


def label(workload: Workload) -> str:
    """The workload in words, for progress lines and lists of missing trials."""
    if workload.kind is TrialKind.SELF_TEST:
        return "counter self-test"
    if workload.kind is TrialKind.OVERHEAD:
        return f"overhead of marker and counter, {workload.repeats} empty windows"
    if workload.kind is TrialKind.LAYERS:
        return f"cycles of {workload.layers} layers, image {workload.image}"
    if workload.kind is TrialKind.NETWORK:
        return f"cycles of the first {workload.layers} layers together"
    what = "the whole network" if is_network_window(workload) else "every layer"
    return f"energy of {what}, image {workload.image}"
