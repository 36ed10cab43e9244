"""Numbers and counts as people read them: units, digits that mean something, no false zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from hil.core.cost import Interval

NOT_MEASURED = "not measured"
# A number and its unit stay on one line.
NBSP = "\u00a0"
MINUS = "\u2212"
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def digits(value: float, significant: int = 3) -> str:
    """``value`` with so many significant digits, thousands grouped, never in e-notation."""
    if not math.isfinite(value):
        return "?"
    if value == 0:
        return "0"
    # The exponent after rounding: 0.9999 is 1.00 and not 1.000.
    exponent = int(f"{value:.{significant - 1}e}".partition("e")[2])
    places = significant - 1 - exponent
    return f"{round(value, places):,.{max(0, places)}f}"


def si(value: float, unit: str, significant: int = 3) -> str:
    """With an SI prefix: ``si(0.0123, "s")`` is ``12.3 ms``."""
    if value == 0 or not math.isfinite(value):
        return f"{digits(value)}{NBSP}{unit}"
    size = abs(float(f"{value:.{significant - 1}e}"))  # 999.6 m rounds up into the next prefix
    factor, prefix = next((p for p in _PREFIXES if size >= p[0]), _PREFIXES[-1])
    return f"{digits(value / factor, significant)}{NBSP}{prefix}{unit}"


def seconds(value: float, significant: int = 3) -> str:
    return si(value, "s", significant)


def energy(value_uj: float, significant: int = 3) -> str:
    return si(value_uj * 1e-6, "J", significant)


def count(value: float) -> str:
    """A whole number, thousands grouped."""
    return f"{round(value):,}"


def byte_count(value: int) -> str:
    """Bytes in full, and in KiB when there are many."""
    return f"{value:,}{NBSP}B" if value < 10_000 else f"{value / 1024:,.1f}{NBSP}KiB"


def percent(fraction: float, places: int = 1) -> str:
    return f"{100 * fraction:.{places}f}{NBSP}%"


def signed(value: float, shown: str) -> str:
    """``shown``, the text of the absolute value, behind a sign; a rounded zero has none."""
    if not any(digit in shown for digit in "123456789"):
        return shown
    return f"{MINUS if value < 0 else '+'}{shown}"


def bandwidth(kbps: float) -> str:
    return si(kbps * 1e3, "bit/s")


def spread(interval: Interval) -> str:
    """The wider half of the interval relative to the median: ``± 0.4 %``."""
    if not interval.known:
        return f"n{NBSP}={NBSP}1"
    wider = max(interval.below, interval.above)
    if wider == 0:
        return f"±{NBSP}0"
    if interval.median == 0:
        return f"±{NBSP}{digits(wider, 2)}"
    relative = 100 * wider / abs(interval.median)
    shown = "<0.01" if relative < 0.01 else digits(relative, 2)
    return f"±{NBSP}{shown}{NBSP}%"


def origin_of(interval: Interval) -> str:
    """Bounds, samples and the confidence reached, as a hint; nothing for a computed number."""
    if interval.n == 0:
        return ""
    if interval.n == 1:
        return "one sample, spread unknown"
    return (
        f"{digits(interval.lo, 6)} to {digits(interval.hi, 6)}, n = {interval.n}, "
        f"{100 * interval.confidence:.1f} % confidence"
    )


def listed(items: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def plural(number: int, noun: str) -> str:
    return f"{number:,}{NBSP}{noun}" if number == 1 else f"{number:,}{NBSP}{noun}s"


def moment(iso: str) -> str:
    """An ISO 8601 time to the second, ``2026-11-23 22:03:57 UTC``; other texts as they are."""
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = " UTC" if time.utcoffset() is not None and not time.utcoffset() else ""
    return f"{time:%Y-%m-%d %H:%M:%S}{zone or format(time, '%z')}"
