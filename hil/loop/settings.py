"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from hil.measure.repeats import WindowGoal


@dataclass(frozen=True)
class Settings:
    """Counts of a measurement campaign on one board.

    ``images``: inputs on which every layer's output is checked and timed. ``passes_a_cut``:
    timed passes of every partition without per-layer counter reads. ``energy_sweeps``: sweeps
    over all layers with a marked window each; ``network_windows``: windows around the whole
    network (six of each give a 95 % interval of the median). ``gap_us``: quiet time before a
    window, long enough for the meter to show the marker low. ``refinements``: how often the
    optimizer may ask for more. ``tail_repeats``: timings of each cloud tail. ``empty_windows``
    (at most MAX_EMPTY_WINDOWS of hil.core.console) tell what marker and counter add.
    """

    images: int = 20
    passes_a_cut: int = 3
    energy_sweeps: int = 6
    network_windows: int = 6
    self_tests: int = 3
    empty_windows: int = 20
    gap_us: int = 500
    window: WindowGoal = field(default_factory=WindowGoal)
    refinements: int = 2
    tail_repeats: int = 20
