"""Where the cores' cycles go, by halfword of code: the engine's profiled variant calls this.

The engine is compiled twice: with ``profile`` None (all of this is left out) and with an array.
A row of ``profile`` is one halfword of L2 and one core class (clock domain). The cycles between
two fetches of a core belong to the first one, so that a core's rows sum up to its clock.
"""

from __future__ import annotations

import numba
import numpy as np

from hil.sim.profile import KINDS, CoreClassCycles
from hil.sim.socs.gap8 import layout as L

# Columns of a row, in the order of hil.sim.profile.KINDS
CYCLES, INSTRUCTIONS, LOAD_USE, BANK, FETCH, WAIT, ASLEEP = range(len(KINDS))
ROW_SPAN = 8
DOMAIN_SPAN = L.L2_BYTES // 2 * ROW_SPAN

# core[PROFILE_PAUSE]: what the cycles until the next fetch are, but for the instruction's own one
NO_PAUSE, PAUSE_WAIT, PAUSE_ASLEEP = 0, 1, 2


def new_profile() -> np.ndarray:
    """Zeroed counts of every halfword of L2 for both core classes (32 MB)."""
    return np.zeros(2 * DOMAIN_SPAN, dtype=np.int64)


@numba.njit
def settle(profile, core, base, until):
    """Charges the cycles up to ``until`` to the place where the core was."""
    row = core[base + L.PROFILE_ROW]
    begun = core[base + L.PROFILE_TO]
    pause = core[base + L.PROFILE_PAUSE]
    profile[row + CYCLES] += until - begun
    if pause == PAUSE_WAIT:
        profile[row + WAIT] += until - begun - 1
    elif pause == PAUSE_ASLEEP:
        # asleep as the chip's active cycles see it; the way out of sleep is a wait
        awake = until
        if core[base + L.MODE] == L.RUNNING:
            awake = core[base + L.AWAKE_SINCE]
        profile[row + ASLEEP] += awake - begun - 1
        profile[row + WAIT] += until - awake
    core[base + L.PROFILE_TO] = until
    core[base + L.PROFILE_PAUSE] = NO_PAUSE


@numba.njit
def enter(profile, core, base, domain, half, now):
    """The core is about to fetch halfword ``half`` at cycle ``now``."""
    settle(profile, core, base, now)
    core[base + L.PROFILE_ROW] = domain * DOMAIN_SPAN + half * ROW_SPAN


@numba.njit
def count(profile, core, base, kind, amount):
    """Adds to a column of the place where the core is."""
    profile[core[base + L.PROFILE_ROW] + kind] += amount


def core_classes(profile: np.ndarray, core: np.ndarray, clocks: tuple[int, int]) -> tuple[
    CoreClassCycles, CoreClassCycles
]:  # fmt: skip
    """What FC and cluster have done up to ``clocks`` (cycles of the two domains, now).

    The instruction in flight is charged up to now only; neither array is changed.
    """
    profile, core = profile.copy(), core.copy()
    for c in range(L.CORES):
        base = c * L.CORE_SPAN
        if core[base + L.MODE] != L.HELD:
            settle.py_func(profile, core, base, clocks[0 if c == L.FC else 1])
    return (
        _core_class("FC", 1, profile[:DOMAIN_SPAN]),
        _core_class("cluster", L.PE_COUNT, profile[DOMAIN_SPAN:]),
    )


def _core_class(name: str, cores: int, counts: np.ndarray) -> CoreClassCycles:
    rows = counts.reshape(-1, ROW_SPAN)
    used = np.flatnonzero(rows.any(axis=1))
    return CoreClassCycles(name, cores, L.L2_BASE + 2 * used, rows[used, : len(KINDS)])
