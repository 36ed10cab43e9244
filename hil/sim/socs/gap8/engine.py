"""Steps the chip: nine cores, two clock domains, L1 banks, caches, DMA and energy bins.

``run`` executes instructions until something outside numba has to act. Each core has the cycle
at which it may issue next; a cycle in which no core can issue costs nothing, so sleeping cores
and waits are skipped. An L1 access is served when its bank is next free, in order of issue (the
vendor simulator's rule); it takes effect at issue, a few cycles before a stalled core goes on.
Between accesses a core runs ahead of the others: only memory, events, control registers and
cache misses need the common cycle, so the result is that of a step by step lockstep. ``burst``
holds that inner loop, ``seldom`` the instructions it leaves out.

Simplifications, deliberate: an instruction's effect is complete when it issues; the FC's and
the cluster's accesses to L2 do not disturb each other; decoded instructions follow stores to
L2 at once, where the chip needs a flush of the instruction cache.
"""

from __future__ import annotations

import numba
import numpy as np

from hil.sim.cores.xpulp.compiled import inlined, inner
from hil.sim.cores.xpulp.source_digest import SOURCE_DIGEST
from hil.sim.socs.gap8 import access, burst, events, mchan, system
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.burst import run_ahead
from hil.sim.socs.gap8.energy import close_bin
from hil.sim.socs.gap8.seldom import GO_ON, WAIT, execute, fetch_line


@inlined
def _next_ready(core, domain):
    """The earliest cycle at which a core of the domain can issue."""
    if domain == L.DOMAIN_FC:
        return core[L.READY + L.FC]
    soonest = core[L.READY]
    for c in range(1, L.PE_COUNT):
        soonest = min(soonest, core[L.READY + c])
    return soonest


def _make_domain_stepper(digest):
    """``digest`` of all sources is a free variable: numba's cache key must depend on them.

    numba checks only the file that holds a cached function; the functions it calls live in
    other files, whose changes it would miss.
    """

    @inner
    def step_domain(mem, code, regs, core, eu, dma, chip, cache, banks, domain, horizon, profile):
        """Runs one clock domain up to (not including) cycle ``horizon``.

        ``profile`` is None or an array (profiling.py): numba drops the branches of None.
        """
        if len(digest) == 0:
            return np.int64(L.RUN_FAULT)
        low = L.FC if domain == L.DOMAIN_FC else 0
        high = L.CORES if domain == L.DOMAIN_FC else L.PE_COUNT
        cycle = _next_ready(core, domain)
        while cycle < horizon:
            for c in range(low, high):
                if core[L.READY + c] > cycle:
                    continue
                base = c * L.CORE_SPAN
                if core[base + L.IRQ_READY] != 0:
                    chip[L.NOW_CYCLE], chip[L.NOW_DOMAIN] = cycle, domain
                    if not system.enter_interrupt(regs, core, eu, chip, c):
                        access.fault(core, chip, c, L.F_NO_HANDLER, core[base + L.PC])
                        return np.int64(L.RUN_FAULT)
                while True:
                    # a core that may be interrupted does not run ahead
                    limit = horizon if core[base + L.MSTATUS] & 8 == 0 else cycle + 1
                    why = run_ahead(
                        mem, code, regs, core, chip, cache, banks, c, domain, cycle, limit, profile
                    )
                    if why == burst.AHEAD:
                        break
                    if why == burst.NEW_LINE:
                        status = fetch_line(core, chip, cache, c, domain, cycle, profile)
                    else:
                        status = execute(
                            mem, code, regs, core, eu, dma, chip, c, domain, cycle, profile
                        )
                    if status == WAIT:
                        break
                    if status != GO_ON:
                        return np.int64(status)

            if chip[L.DIRTY] != 0:
                return np.int64(L.RUN_LIMIT)
            cycle = _next_ready(core, domain)
        return np.int64(L.RUN_LIMIT)

    return step_domain


_step_domain = _make_domain_stepper(SOURCE_DIGEST)


@inner
def _first_event(chip):
    """The next moment at which something other than a core acts."""
    due = min(chip[L.LIMIT_FS], min(chip[L.DEVICE_DUE_FS], chip[L.BIN_DUE_FS]))
    if chip[L.DMA_DUE_CYCLE] != L.NEVER:
        due = min(due, events.cycle_time(chip, L.DOMAIN_CLUSTER, chip[L.DMA_DUE_CYCLE]))
    return due


def _make_run(digest):
    """The engine's entry, bound to the sources' digest for numba's cache (see above)."""

    @numba.njit(nogil=True, cache=True)
    def run(mem, code, regs, core, eu, dma, chip, cache, banks, energy, profile):
        """Advances the chip to chip[LIMIT_FS] and says why it came back earlier (RUN_*).

        RUN_STALLED: no core can ever go on by itself and no event is due. ``profile``: None or
        profiling.new_profile(); each is compiled at its first use.
        """
        if len(digest) == 0:
            return np.int64(L.RUN_FAULT)
        while True:
            chip[L.DIRTY] = 0
            fc_ready = _next_ready(core, L.DOMAIN_FC)
            pe_ready = _next_ready(core, L.DOMAIN_CLUSTER)
            fc_fs = pe_fs = np.int64(L.NEVER)
            if fc_ready != L.NEVER:
                fc_fs = events.cycle_time(chip, L.DOMAIN_FC, fc_ready)
            if pe_ready != L.NEVER:
                pe_fs = events.cycle_time(chip, L.DOMAIN_CLUSTER, pe_ready)
            due = _first_event(chip)

            if due <= min(fc_fs, pe_fs):
                idle = fc_fs == L.NEVER and pe_fs == L.NEVER
                if idle and chip[L.DEVICE_DUE_FS] == L.NEVER and chip[L.DMA_DUE_CYCLE] == L.NEVER:
                    return np.int64(L.RUN_STALLED)
                chip[L.NOW_FS] = due
                if chip[L.BIN_DUE_FS] <= due:
                    if chip[L.BIN_COUNT] == chip[L.BIN_ROOM]:
                        return np.int64(L.RUN_BINS_FULL)
                    close_bin(core, dma, chip, energy)
                    continue
                if chip[L.LIMIT_FS] <= due:
                    return np.int64(L.RUN_LIMIT)
                if chip[L.DEVICE_DUE_FS] <= due:
                    return np.int64(L.RUN_DEVICE)
                chip[L.NOW_DOMAIN] = L.DOMAIN_CLUSTER
                chip[L.NOW_CYCLE] = chip[L.DMA_DUE_CYCLE]
                mchan.complete_due(mem, code, regs, core, eu, dma, chip)
                continue

            # the domain whose edge comes first runs until the other one or an event is due;
            # at equal times the FC goes first
            if fc_fs <= pe_fs:
                horizon = due
                if pe_fs != L.NEVER:
                    horizon = min(due, pe_fs + 1)
                domain = L.DOMAIN_FC
            else:
                horizon = min(due, fc_fs)
                domain = L.DOMAIN_CLUSTER
            until = events.cycle_at(chip, domain, horizon)
            status = _step_domain(
                mem, code, regs, core, eu, dma, chip, cache, banks, domain, until, profile
            )
            if status != L.RUN_LIMIT:
                return status

    return run


run = _make_run(SOURCE_DIGEST)


def _make_raise_events(digest):
    """``events.raise_events`` for the devices in Python, cached like ``run``."""

    @numba.njit(cache=True)
    def raise_core_events(regs, core, eu, chip, c, bits):
        """Buffers events for core ``c`` at chip[NOW_*]."""
        if len(digest) != 0:
            events.raise_events(regs, core, eu, chip, c, bits)

    return raise_core_events


raise_core_events = _make_raise_events(SOURCE_DIGEST)
