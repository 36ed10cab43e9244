"""Hint instructions of the Cortex-M7, narrow and wide. Reference: Armv7-M ARM A5.2.5, A5.3.4."""

from __future__ import annotations

from collections.abc import Callable

YIELD, WFE, WFI = 1, 2, 3


def hint_before(address: int, halfword: Callable[[int], int | None]) -> int | None:
    """The number of the hint that ends at ``address``, None if there is none."""
    last = halfword(address - 2) or 0
    if last & 0xFF0F == 0xBF00:
        return last >> 4 & 0xF
    is_wide = last >> 8 == 0x80 and halfword(address - 4) == 0xF3AF
    return last & 0xFF if is_wide else None


def is_sev(code: bytes) -> bool:
    """The first instruction is SEV."""
    return code.startswith((b"\x40\xbf", b"\xaf\xf3\x04\x80"))
