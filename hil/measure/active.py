"""The active energy: what the work adds to what the board draws without working.

It is a difference of two readings of one meter. What scales both (gain, shunt, supply, time base)
acts on the difference; what is added to both (the offset) cancels. An edge that is a little
off moves power at the base into the window and the base's share along with it: of such causes the
budget keeps what the total energy's has for its edges, on the safe side. Energy and base
are read from different samples and count as independent; a drift that both share cancels, so that
this too errs to the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from hil.core.trial import WindowSample
from hil.core.uncertainty import Term, UncertaintyBudget
from hil.measure.budget import (
    MeterAccuracy,
    clock_of,
    edges_terms,
    extra_terms,
    lost_of_pass,
    noise_of_mean,
    relative_terms,
    uniform,
)
from hil.measure.energy import per_pass
from hil.measure.overhead import MarkerOverhead


def active_budget_of_pass(
    windows: Sequence[WindowSample],
    accuracy: MeterAccuracy,
    overhead: MarkerOverhead | None = None,
) -> UncertaintyBudget | None:
    """The budget of one pass's active energy; None below 2 windows.

    As hil.measure.budget.budget_of_pass, of the energy less base power times time.
    """
    if len(windows) < 2:
        return None
    repeats = [per_pass(window) for window in windows]
    n = len(repeats)
    active_uj = fmean(window.above_base_uj for window in repeats)
    duration_s = fmean(window.duration_s for window in repeats)
    supply_v = fmean(window.supply_v for window in windows)
    step_uj = accuracy.resolution_a * supply_v * duration_s * 1e6
    base_w = noise_of_mean([window.base_power_w for window in windows])
    terms = [
        Term(
            "noise",
            noise_of_mean([window.energy_uj for window in repeats]),
            "Student's t",
            f"spread of {n} repeats of the energy, of their mean",
        ),
        Term(
            "base power",
            base_w * duration_s * 1e6,
            "Student's t",
            f"spread of the {n} gaps before the windows, of their mean",
        ),
        *relative_terms(active_uj, accuracy, supply_v),
        uniform(
            "resolution",
            math.sqrt(2) * step_uj / 2,
            f"half of a step of {accuracy.resolution_a:.3g} A in both readings",
        ),
        *edges_terms(repeats),
        *extra_terms(active_uj, clock_of(windows), overhead, lost_of_pass(windows)),
    ]
    return UncertaintyBudget(active_uj, tuple(terms))
