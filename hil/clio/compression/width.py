"""Width multiplier: every layer by the same factor (Howard et al., 2017), trained from scratch."""

from __future__ import annotations

from dataclasses import replace

from hil.clio.compression.compressed import Compressed
from hil.clio.compression.macs import size_of
from hil.clio.compression.structure import explicit
from hil.core.errors import ModelError
from hil.nn.checkpoint import Checkpoint
from hil.nn.zoo import ModelSpec

# Channels are rounded to 8, so finer steps change nothing for the networks here.
STEP = 1 / 400


def width_for(spec: ModelSpec, budget_macs: int) -> ModelSpec:
    """``spec`` at the largest width that keeps the budget, with explicit channels.

    Widths are multiples of STEP up to that of ``spec``; MACs never fall as the width grows.
    Raises ModelError if even the narrowest network is too large.
    """
    low, high = 1, max(1, round(spec.width / STEP))
    if size_of(_at(spec, low)).macs > budget_macs:
        raise ModelError(
            f"{spec.name}: the narrowest network has {size_of(_at(spec, low)).macs} MACs, more "
            f"than the budget of {budget_macs}"
        )
    while low < high:
        middle = (low + high + 1) // 2
        if size_of(_at(spec, middle)).macs <= budget_macs:
            low = middle
        else:
            high = middle - 1
    return explicit(_at(spec, low))


def compress_width(checkpoint: Checkpoint, budget_macs: int, seed: int = 0) -> Compressed:
    """The width multiplier as a compression method; nothing of the weights is used."""
    spec = width_for(checkpoint.spec, budget_macs)
    return Compressed(
        method="width",
        source=checkpoint.name,
        source_digest=checkpoint.digest,
        before=size_of(checkpoint.spec),
        spec=spec,
        weights=None,
        settings={"width": spec.width, "budget_macs": budget_macs},
        seed=seed,
        data={},
    )


def _at(spec: ModelSpec, steps: int) -> ModelSpec:
    return replace(spec, width=steps * STEP, channels=None)
