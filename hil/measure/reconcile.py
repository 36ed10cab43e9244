"""Per-layer costs summed, against the whole network measured by itself.

The two are measured apart on purpose: reading counters around each layer costs cycles, and
what happens between layers (calls, loop) belongs to none. A small positive overhead of the
network is expected; a large difference of either sign means that one of the two is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hil.core.cost import Interval
from hil.core.errors import DataError

# Up to here the layers explain the network.
AGREE_PCT = 1.0
# Up to here the sum can be used with the difference shown; beyond, one of both is wrong.
TOLERATE_PCT = 5.0


class Agreement(StrEnum):
    """What the difference means for a user of the table."""

    AGREES = "agrees"
    DIFFERS = "differs"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True)
class Reconciliation:
    """Difference network - sum of layers, in the unit of both and in % of the network."""

    layers_sum: Interval
    network: Interval
    difference: float
    difference_pct: float
    verdict: Agreement

    def __str__(self) -> str:
        return (
            f"{self.verdict}: network {self.network.median:.6g}, layers "
            f"{self.layers_sum.median:.6g}, difference {self.difference:+.4g} "
            f"({self.difference_pct:+.2f} %)"
        )


def reconcile(
    layers_sum: Interval,
    network: Interval,
    agree_pct: float = AGREE_PCT,
    tolerate_pct: float = TOLERATE_PCT,
) -> Reconciliation:
    """Compare both; overlapping intervals agree however wide, beyond them the % decides."""
    if network.median <= 0:
        raise DataError(f"a network cannot cost {network.median}; its measurement is wrong")
    difference = network.median - layers_sum.median
    percent = 100.0 * difference / network.median
    seen = layers_sum.known and network.known and layers_sum.overlaps(network)
    if seen or abs(percent) <= agree_pct:
        verdict = Agreement.AGREES
    elif abs(percent) <= tolerate_pct:
        verdict = Agreement.DIFFERS
    else:
        verdict = Agreement.CONTRADICTS
    return Reconciliation(layers_sum, network, difference, percent, verdict)
