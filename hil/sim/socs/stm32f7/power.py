"""Supply current of the STM32F746, modelled. No figure here was measured on a board.

Anchors, from memory of datasheet DS10916, section "Supply current characteristics" (typical,
25 degC, 3.3 V, all peripherals off; verify against the document before relying on them):
run mode at 216 MHz about 102 mA, run mode at 16 MHz about 12 mA, sleep mode at 216 MHz about
25 mA. Between them the current is taken as linear in the clock. Expect +-20 % against a board.

A cycle's energy is split into a base (clock tree, fetch, leakage) and what each instruction class
adds; the classes' ratios are assumptions, scaled so that code with the mix below draws the
anchor current. Extra energies are those at the 216 MHz operating point (scale 1, over-drive).
"""

from __future__ import annotations

from dataclasses import dataclass

SUPPLY_V = 3.3
BIN_S = 10e-6


@dataclass(frozen=True)
class CurrentModel:
    """Current as ``static_a + a_per_hz * clock``."""

    static_a: float
    a_per_hz: float

    def power_w(self, clock_hz: float) -> float:
        """Power at the supply pin."""
        return SUPPLY_V * (self.static_a + self.a_per_hz * clock_hz)


# 12 mA at 16 MHz and 102 mA at 216 MHz give 0.45 mA/MHz over 4.8 mA; of the dynamic part 70 %
# is base, the rest is what instructions add (about 0.43 nJ a cycle for the reference mix).
RUN_BASE = CurrentModel(static_a=4.8e-3, a_per_hz=0.315e-9)
SLEEP = CurrentModel(static_a=4.8e-3, a_per_hz=0.0935e-9)
# One 256-bit flash line read by the cache or the prefetcher.
FLASH_LINE_J = 1.2e-9
# Where the data cache is followed: a line from SRAM or back, half of one from flash; a load or
# store past the cache (assumed).
SRAM_LINE_J, SRAM_ACCESS_J = 0.6e-9, 0.1e-9
