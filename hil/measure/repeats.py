"""How often a layer repeats on the device until its energy window is long enough.

A window's energy is known to about one meter sample at each edge, so a window of N samples has
an edge error near 1/N; and a meter's own settling wants some milliseconds. The count is rounded
up to a step of at most 1/8, so that a layer whose cycles differ slightly between two runs gets
the same count and the trial keeps its key.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from hil.core.errors import InstrumentError

# The console carries the count of a layer as an unsigned 16-bit number.
MAX_ITERATIONS = 65535


@dataclass(frozen=True)
class WindowGoal:
    """The shortest window worth measuring: meter samples and seconds, whichever is longer.

    100 samples keep the error of the two edges near 1 %.
    """

    min_samples: int = 100
    min_window_s: float = 0.005
    max_iterations: int = MAX_ITERATIONS


def round_up_count(count: int) -> int:
    """The next count with three leading binary digits after the first: 8, 9, ... 15, 16, 18..."""
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step


def iterations_for_window(
    name: str, cycles: float, clock_hz: float, sample_interval_s: float, goal: WindowGoal
) -> int:
    """Passes of a layer of ``cycles`` that fill the goal's window.

    Raises InstrumentError when the layer is so short that the console cannot ask for enough.
    """
    if cycles <= 0 or clock_hz <= 0 or sample_interval_s <= 0:
        raise InstrumentError(
            f"layer {name}: no window can be planned from {cycles} cycles at {clock_hz} Hz and a "
            f"sample every {sample_interval_s} s; all must be positive"
        )
    window_s = max(goal.min_window_s, goal.min_samples * sample_interval_s)
    exact = max(1, ceil(window_s * clock_hz / cycles))
    count = min(round_up_count(exact), goal.max_iterations)
    if exact > goal.max_iterations:
        raise InstrumentError(
            f"layer {name}: {exact} passes of {cycles:.0f} cycles would fill {window_s * 1e3:.1f} "
            f"ms, the device repeats at most {goal.max_iterations}; use a faster meter rate or "
            f"fewer samples a window than {goal.min_samples}"
        )
    return count
