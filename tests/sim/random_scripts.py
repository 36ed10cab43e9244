"""Random scripts of interrupts for a Cortex-M7 (m7_scripts.py), for comparison of two of them.

Priorities, groups, masks, enables and what is pending change at random, in the main program and in
the handlers of SVC, PendSV and interrupts 0 to 3. A handler pends only those behind it in a random
order, so that every script ends. One that calls SVC where it may not ends in HardFault.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from m7_registers import (
    AIRCR,
    IABR,
    ICER,
    ICPR,
    ICSR,
    IPR,
    ISER,
    ISPR,
    SHCSR,
    SHPR2,
    SHPR3,
    STIR,
    VECTKEY,
)
from m7_scripts import CALL, Step, basepri, faultmask, mark, primask, read, store

PENDSVSET, PENDSVCLR = 1 << 28, 1 << 27  # of ICSR
SV_CALL, PEND_SV, IRQ = 11, 14, 16
EXCEPTIONS = (SV_CALL, PEND_SV, *range(IRQ, IRQ + 4))
PRIORITIES = range(0x20, 0x100, 0x20)


def script(seed: int) -> tuple[list[Step], dict[int, list[Step]]]:
    """A main program and its handlers."""
    draw = random.Random(seed)
    order = draw.sample(EXCEPTIONS, len(EXCEPTIONS))
    main = [
        store(AIRCR, VECTKEY | draw.choice((0, 0, 5, 6, 7)) << 8),
        store(SHPR2, draw.choice(PRIORITIES) << 24),
        store(SHPR3, draw.choice(PRIORITIES) << 16),
        store(IPR, _four_priorities(draw)),
        store(ISER, 0xF),
        primask(draw.getrandbits(1)),
        *(step for _ in range(10) for step in _steps(draw, order)),
        primask(0),
        basepri(0),
    ]
    handlers = {
        exception: [
            step
            for _ in range(draw.randrange(1, 6))
            for step in _steps(draw, order[order.index(exception) + 1 :])
        ]
        for exception in EXCEPTIONS
    }
    return main, handlers


def _four_priorities(draw: random.Random) -> int:
    return draw.getrandbits(32) & 0xE0E0E0E0


def _steps(draw: random.Random, allowed: Sequence[int]) -> list[Step]:
    """One thing to do; it may pend the exceptions in ``allowed``."""
    kind = draw.randrange(12)
    if kind < 5 and allowed:
        return [_pend(draw, draw.choice(allowed))]
    if kind == 5:
        return [basepri(draw.choice((0, *PRIORITIES)))]
    if kind == 6:
        return [primask(draw.getrandbits(1))]
    if kind == 7 and allowed and SV_CALL not in allowed:  # SVC there would be a lock-up
        return [faultmask(1), _pend(draw, draw.choice(allowed)), mark(1000), faultmask(0)]
    if kind == 8:
        return [store(IPR, _four_priorities(draw))]
    if kind == 9:
        return [store(draw.choice((ISER, ICER, ICPR)), draw.getrandbits(4))]
    if kind == 10:
        return [store(ICSR, PENDSVCLR)]
    return [read(draw.choice((ICSR, ISPR, IABR, SHCSR)))]


def _pend(draw: random.Random, exception: int) -> Step:
    if exception == SV_CALL:
        return CALL
    if exception == PEND_SV:
        return store(ICSR, PENDSVSET)
    number = exception - IRQ
    return draw.choice((store(ISPR, 1 << number), store(STIR, number)))
