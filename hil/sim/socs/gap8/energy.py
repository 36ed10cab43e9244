"""Modelled energy: what each kind of activity draws, collected in equal bins of chip time.

No table of GAP8's power by operating point is published. The coefficients below are scaled so
that eight busy cores at 150 MHz draw about 50 mW, the figure of the Clio paper's GAP8 (and of
DORY: 186 MMAC x 63 pJ x 4.3 frames/s). The split between cores, memories and DMA follows the
usual order of magnitude of 55 nm memories and is a guess; only sums over whole layers mean
something, and every report marks them "modelled".
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from hil.sim.socs.gap8 import layout as L

BIN_S = 10e-6
SUPPLY_V = 1.2


@dataclass(frozen=True)
class Coefficient:
    """Energy of one unit of an activity, in joules."""

    term: int
    joules: float
    what: str


# Order as layout.E_*. Busy cluster at 150 MHz, typical kernel (1 load per 2 instructions):
# 8 x 150e6 x (25 pJ + 0.5 x 8 pJ) = 34.8 mW, + FC asleep, cluster base and leakage 14 mW = ~49 mW.
COEFFICIENTS = (
    Coefficient(L.E_SECONDS, 6.0e-3, "leakage, PMU, FLL and SoC clock tree, per second"),
    Coefficient(L.E_FC_CYCLES, 35e-12, "active FC cycle, with its fetch"),
    Coefficient(L.E_PE_CYCLES, 25e-12, "active PE cycle, with its fetch"),
    Coefficient(L.E_L1, 8e-12, "L1 access"),
    Coefficient(L.E_L2, 40e-12, "L2 access by a core"),
    Coefficient(L.E_DMA_BYTES, 8e-12, "byte moved by MCHAN"),
    Coefficient(L.E_IMISS, 120e-12, "instruction cache line refill"),
    Coefficient(L.E_CLUSTER_SECONDS, 8.0e-3, "cluster powered: leakage and clock, per second"),
)


def coefficients() -> np.ndarray:
    """The table as the engine wants it."""
    values = np.zeros(L.ENERGY_TERMS)
    for row in COEFFICIENTS:
        values[row.term] = row.joules
    return values


@numba.njit
def _active_cycles(core, chip, c):
    base = c * L.CORE_SPAN
    cycles = core[base + L.N_CYCLES]
    if core[base + L.MODE] == L.RUNNING:
        domain = L.DOMAIN_FC if c == L.FC else L.DOMAIN_CLUSTER
        elapsed = chip[L.BIN_DUE_FS] - chip[L.ORIGIN_FS + domain]
        now = chip[L.ORIGIN_CYCLE + domain] + elapsed // chip[L.PERIOD_FS + domain]
        cycles += now - core[base + L.AWAKE_SINCE]
    return cycles


@numba.njit
def close_bin(core, dma, chip, energy):
    """Ends the bin that is due: turns the activity since the last one into joules."""
    now = np.zeros(L.ENERGY_TERMS)
    now[L.E_SECONDS] = chip[L.BIN_DUE_FS] * 1e-15
    now[L.E_FC_CYCLES] = _active_cycles(core, chip, L.FC)
    for c in range(L.CORES):
        base = c * L.CORE_SPAN
        outside = core[base + L.N_LOAD_EXT] + core[base + L.N_STORE_EXT]
        if c < L.PE_COUNT:
            now[L.E_PE_CYCLES] += _active_cycles(core, chip, c)
            now[L.E_L1] += core[base + L.N_LOAD] + core[base + L.N_STORE] - outside
        now[L.E_L2] += outside
        now[L.E_IMISS] += core[base + L.N_IMISS]
    now[L.E_DMA_BYTES] = dma[L.DMA_BYTES]
    now[L.E_CLUSTER_SECONDS] = energy[L.ENERGY_PREVIOUS + L.E_CLUSTER_SECONDS]
    if chip[L.CLUSTER_ON] != 0:
        now[L.E_CLUSTER_SECONDS] += chip[L.BIN_FS] * 1e-15
    joules = 0.0
    for i in range(L.ENERGY_TERMS):
        used = now[i] - energy[L.ENERGY_PREVIOUS + i]
        joules += used * energy[L.ENERGY_COEFFICIENT + i]
        energy[L.ENERGY_PREVIOUS + i] = now[i]
    energy[L.ENERGY_BINS + chip[L.BIN_COUNT]] = joules
    chip[L.BIN_COUNT] += 1
    chip[L.BIN_DUE_FS] += chip[L.BIN_FS]
