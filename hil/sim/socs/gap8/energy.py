"""Modelled energy: what each kind of activity draws, collected in equal bins of chip time.

No table of GAP8's power by operating point is published. Two figures are, and the coefficients
are scaled to both: 50 mW with eight busy cores at 150 MHz (the Clio paper), and 63 pJ a MAC on
average over a MobileNet (DORY, arXiv 2008.07127; with its 186 MMAC at 4.3 frames a second that is
50 mW again). The split between cores, memories and DMA follows the usual order of magnitude of
55 nm memories and is a guess: only sums over whole layers mean something. HyperBus and HWCE are in
neither figure; what they cost is assumed. Every joule made of these has the provenance "modelled".
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from hil.core.errors import SimulationError
from hil.sim.socs.gap8 import layout as L

BIN_S = 10e-6
SUPPLY_V = 1.2
PUBLISHED_POWER_W, PUBLISHED_CLOCK_HZ = 50e-3, 150e6
PUBLISHED_MAC_J, PUBLISHED_MAC_PER_S = 63e-12, 186e6 * 4.3


@dataclass(frozen=True)
class Coefficient:
    """Energy of one unit of an activity in joules, at 1.2 V.

    ``exponent`` of the core voltage: 2 for switched charge, 1 for what flows all the time, 0 for
    what has a supply of its own.
    """

    term: int
    joules: float
    what: str
    exponent: int = 2


COEFFICIENTS = (
    Coefficient(L.E_SECONDS, 6.0e-3, "idle: leakage, PMU, FLL and SoC clock tree, per second", 1),
    Coefficient(L.E_CLUSTER_SECONDS, 8.0e-3, "cluster powered: leakage and clock, per second", 1),
    Coefficient(L.E_FC_CYCLES, 35e-12, "active FC cycle, with its fetch"),
    Coefficient(L.E_PE_CYCLES, 23e-12, "active PE cycle, with its fetch"),
    Coefficient(L.E_PACKED, 10e-12, "packed (SIMD, dot product) instruction, more than its cycle"),
    Coefficient(L.E_MULTIPLY, 8e-12, "mul, mulh, div, rem, more than its cycles"),
    Coefficient(L.E_L1, 8e-12, "L1 access"),
    Coefficient(L.E_L2, 40e-12, "L2 access by a core"),
    Coefficient(L.E_DMA_BYTES, 8e-12, "byte moved by MCHAN"),
    Coefficient(L.E_IMISS, 120e-12, "instruction cache line refill"),
    # Assumed. Bus and memory chip together: 25 mA at 1.8 V and 333 MB/s, the order of HyperRAM data
    # sheets, are 135 pJ; pads and controller fill it up.
    Coefficient(L.E_HYPERBUS_BYTES, 150e-12, "byte moved on HyperBus, with the memory chip", 0),
    # Assumed. The vendor's peak of 600 GMAC/s/W (Flamand et al., ASAP 2018) at 1.0 V with small
    # words is 2.4 pJ at 1.2 V; 16-bit products take more.
    Coefficient(L.E_HWCE_MACS, 4e-12, "multiplication of the HWCE, with its L1 accesses"),
)
# Core voltage: highest clock of FC and of cluster in Hz (GAP SDK, benchmarks/gap8/cnn/README.md);
# between them the SDK takes a straight line (pmu_driver.c).
LOWEST_V, HIGHEST_V = 1.0, 1.2
CLOCK_LIMITS_HZ = {LOWEST_V: (150e6, 90e6), HIGHEST_V: (250e6, 175e6)}


def check_voltage(core_v: float) -> None:
    """SimulationError unless the core has an operating point at ``core_v``."""
    if not LOWEST_V <= core_v <= HIGHEST_V:
        raise SimulationError(
            f"gap8: no operating point at {core_v:g} V; there are {LOWEST_V} to {HIGHEST_V} V"
        )


def clock_limits_hz(core_v: float) -> tuple[float, float]:
    """Highest clocks of FC and cluster at a voltage; SimulationError outside of 1.0 to 1.2 V."""
    check_voltage(core_v)
    low, high = CLOCK_LIMITS_HZ[LOWEST_V], CLOCK_LIMITS_HZ[HIGHEST_V]
    part = (core_v - LOWEST_V) / (HIGHEST_V - LOWEST_V)
    return (low[0] + part * (high[0] - low[0]), low[1] + part * (high[1] - low[1]))


def coefficients(core_v: float = SUPPLY_V) -> np.ndarray:
    """The table as the engine wants it, at a voltage; SimulationError outside of 1.0 to 1.2 V."""
    check_voltage(core_v)
    values = np.zeros(L.ENERGY_TERMS)
    for row in COEFFICIENTS:
        values[row.term] = row.joules * (core_v / SUPPLY_V) ** row.exponent
    return values


@numba.njit
def _work_done(chip, work):
    """Units of a device's work (L.WORK_*) at the end of the bin; it goes on evenly."""
    done = float(chip[work + L.WORK_DONE])
    elapsed = chip[L.BIN_DUE_FS] - chip[work + L.WORK_FROM_FS]
    if chip[work + L.WORK_UNITS] != 0 and elapsed > 0:
        span = chip[work + L.WORK_UNTIL_FS] - chip[work + L.WORK_FROM_FS]
        done += chip[work + L.WORK_UNITS] * min(elapsed / span, 1.0)
    return done


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
        now[L.E_PACKED] += core[base + L.N_PACKED]
        now[L.E_MULTIPLY] += core[base + L.N_MULTIPLY]
    now[L.E_DMA_BYTES] = dma[L.DMA_BYTES]
    now[L.E_HYPERBUS_BYTES] = _work_done(chip, L.HYPERBUS_BYTES)
    now[L.E_HWCE_MACS] = _work_done(chip, L.HWCE_MACS)
    now[L.E_CLUSTER_SECONDS] = energy[L.ENERGY_PREVIOUS + L.E_CLUSTER_SECONDS]
    if chip[L.CLUSTER_BARRED] != L.F_CLUSTER_OFF:
        now[L.E_CLUSTER_SECONDS] += chip[L.BIN_FS] * 1e-15
    joules = 0.0
    for i in range(L.ENERGY_TERMS):
        used = now[i] - energy[L.ENERGY_PREVIOUS + i]
        joules += used * energy[L.ENERGY_COEFFICIENT + i]
        energy[L.ENERGY_PREVIOUS + i] = now[i]
    energy[L.ENERGY_BINS + chip[L.BIN_COUNT]] = joules
    chip[L.BIN_COUNT] += 1
    chip[L.BIN_DUE_FS] += chip[L.BIN_FS]
