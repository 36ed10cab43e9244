"""Multiply-accumulates and parameters of a model that was never built or run."""

from __future__ import annotations

from dataclasses import dataclass

from hil.clio.compression.structure import structure_of
from hil.core.errors import ModelError
from hil.nn.zoo import ModelSpec


@dataclass(frozen=True)
class Size:
    """``macs`` as the sum of ``hil.core.network.Network.macs``; ``parameters`` as trained."""

    macs: int
    parameters: int

    def __str__(self) -> str:
        return f"{self.macs / 1e6:.2f} MMAC, {self.parameters / 1e3:.1f} k parameters"


def size_of(spec: ModelSpec) -> Size:
    """Size of one inference on one picture. Raises ModelError for an unknown structure."""
    structure = structure_of(spec)
    return Size(structure.macs(structure.sizes), structure.parameters(structure.sizes))


def budget_macs(spec: ModelSpec, fraction: float) -> int:
    """``fraction`` of the MACs of ``spec``, rounded down. ModelError outside 0 to 1."""
    if not 0 < fraction <= 1:
        raise ModelError(f"a MACs budget is a fraction of the original's, 0 to 1, not {fraction}")
    return int(size_of(spec).macs * fraction)
