"""The flash's ITCM port with ST's ART accelerator and prefetch, neither of which the AXI port has.

With PRFTEN the line behind the current one is read while that one is used (RM0385 section 3:
lines of 256 bits). With ARTEN lines are kept that the core had to wait for, code and data alike
(one cache for both), as many and replaced as the manuals of its kin say: 64, the least recently
used one (RM0090 section 3.5.2; RM0399 section 6.2: fully associative). A line that was prefetched
in time is not kept. Assumed: a jump does not stop a read that has begun; switching off keeps the
lines; the AXI port's reads of the same array do not disturb.
"""

from __future__ import annotations

import numpy as np

from hil.sim.cores.cortex_m7.layout import ART_LINES, Floats, Ints

NO_LINE = -1


class Art:
    """The port's state from one power-on on, in memory that the native hooks share."""

    def __init__(self, ints: np.ndarray, floats: np.ndarray) -> None:
        self._ints, self._floats = ints, floats
        self._lines = np.zeros(ART_LINES, np.int64)  # the one used last comes first
        ints[Ints.ART] = self._lines.ctypes.data
        self.switch(0, accelerator=False, prefetch=False)
        self.forget()

    def switch(self, wait_states: int, accelerator: bool, prefetch: bool) -> None:
        """FLASH_ACR: LATENCY, ARTEN and PRFTEN. The lines in use are read again."""
        self._floats[Floats.FLASH_WAIT_CYCLES] = wait_states
        self._ints[Ints.ART_ON] = accelerator
        self._ints[Ints.PREFETCH_ON] = prefetch
        self._ints[Ints.PORT_LINE] = self._ints[Ints.PREFETCHED_LINE] = NO_LINE

    def forget(self) -> None:
        """ARTRST."""
        self._lines[:] = NO_LINE
