"""Where the cores' cycles go, by halfword of code: the engine's profiled variant calls this.

The engine is compiled twice: with ``profile`` None (all of this is left out) and with an array.
A row of ``profile`` is one halfword of L2 and one core class (clock domain). The cycles between
two fetches of a core belong to the first one, so that a core's rows sum up to its clock.
"""

from __future__ import annotations

import numpy as np

from hil.sim.cores.xpulp import ops
from hil.sim.cores.xpulp.compiled import inner
from hil.sim.cores.xpulp.decode import LONG_BIT, decode
from hil.sim.disassembly import xpulp_text
from hil.sim.profile import CodeLine, CoreClassCycles
from hil.sim.socs.gap8 import layout as L

# What the profile says of an instruction. The engine counts all but the last two columns.
KINDS = (
    "cycles", "instructions", "load_use", "bank", "fetch", "wait", "asleep", "branch", "long",
)  # fmt: skip
ENGINE_KINDS = 7
CYCLES, INSTRUCTIONS, LOAD_USE, BANK, FETCH, WAIT, ASLEEP = range(ENGINE_KINDS)
ROW_SPAN = 8
DOMAIN_SPAN = L.L2_BYTES // 2 * ROW_SPAN
COUNT_WORDS = 2 * DOMAIN_SPAN

# core[PROFILE_PAUSE]: what the cycles until the next fetch are, but for the instruction's own one
NO_PAUSE, PAUSE_WAIT, PAUSE_ASLEEP = 0, 1, 2


def new_profile(trace_words: int) -> np.ndarray:
    """Zeroed counts of every halfword of L2 for both core classes (32 MB), and a trace's words."""
    return np.zeros(COUNT_WORDS + trace_words, dtype=np.int64)


@inner
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
        asleep = max(awake - core[base + L.ASLEEP_FROM], 0)
        profile[row + ASLEEP] += asleep
        profile[row + WAIT] += until - begun - 1 - asleep
    core[base + L.PROFILE_TO] = until
    core[base + L.PROFILE_PAUSE] = NO_PAUSE


@inner
def enter(profile, core, base, domain, half, now):
    """The core is about to fetch halfword ``half`` at cycle ``now``."""
    settle(profile, core, base, now)
    core[base + L.PROFILE_ROW] = domain * DOMAIN_SPAN + half * ROW_SPAN


@inner
def count(profile, core, base, kind, amount):
    """Adds to a column of the place where the core is."""
    profile[core[base + L.PROFILE_ROW] + kind] += amount


def core_classes(counts: np.ndarray, state: L.State, clocks: tuple[int, int]) -> tuple[
    CoreClassCycles, CoreClassCycles
]:  # fmt: skip
    """What FC and cluster have done up to ``clocks`` (cycles of the two domains, now).

    The instruction in flight is charged up to now only; no array is changed.
    """
    counts, core = counts.copy(), state.core.copy()
    for c in range(L.CORES):
        base = c * L.CORE_SPAN
        if core[base + L.MODE] != L.HELD:
            settle.py_func(counts, core, base, clocks[0 if c == L.FC else 1])
    halves = state.mem.view(np.uint16)
    return (
        _core_class("FC", 1, counts[:DOMAIN_SPAN], halves),
        _core_class("cluster", L.PE_COUNT, counts[DOMAIN_SPAN:], halves),
    )


def _core_class(name: str, cores: int, counts: np.ndarray, halves: np.ndarray) -> CoreClassCycles:
    rows = counts.reshape(-1, ROW_SPAN)
    used = np.flatnonzero(rows.any(axis=1))
    engine_counts = rows[used, :ENGINE_KINDS]
    # What is left of a row's cycles is the instruction's own: which reason, its operation says.
    rest = engine_counts[:, CYCLES] - engine_counts[:, INSTRUCTIONS:].sum(axis=1)
    words = [_word(halves, half) for half in used.tolist()]
    branches = np.array([_is_branch(word) for word in words], dtype=bool)
    split = np.stack((np.where(branches, rest, 0), np.where(branches, 0, rest)), axis=1)
    return CoreClassCycles(
        name,
        cores,
        L.L2_BASE + 2 * used,
        np.hstack((engine_counts, split)),
        KINDS,
        tuple(
            _line(word, L.L2_BASE + 2 * half)
            for word, half in zip(words, used.tolist(), strict=True)
        ),
    )


def _word(halves: np.ndarray, half: int) -> int:
    """The 32 bits of L2 from a halfword on."""
    return int(halves[half]) | int(halves[half + 1]) << 16


def _is_branch(word: int) -> bool:
    op = decode(word) & 511
    return ops.BEQ <= op <= ops.JALR or op == ops.MRET


def _line(word: int, address: int) -> CodeLine:
    record = decode(word)
    op, imm, size = record & 511, record >> 32, 4 if record >> LONG_BIT & 1 else 2
    loop = None
    if ops.BEQ <= op <= ops.JAL:
        if op <= ops.BGEU and record >> 30 & 3 == 1:
            imm = (imm & 0xFFFF ^ 0x8000) - 0x8000
        if imm < 0:
            loop = (address + imm, address)
    elif op == ops.LP_SETUP:
        loop = (address + size, address + imm)
    elif op == ops.LP_SETUPI:
        loop = (address + size, address + (imm >> 12))
    return CodeLine(address, xpulp_text(word, address), loop)
