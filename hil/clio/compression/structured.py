"""Structured pruning by torch-pruning (Fang et al., DepGraph, CVPR 2023) to a MACs budget."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import ModuleType

import torch
from torch import nn

from hil.clio.compression.channel_prune import Weights, loaded
from hil.clio.compression.compressed import Compressed
from hil.clio.compression.macs import size_of
from hil.clio.compression.structure import Structure, resized, structure_of
from hil.core.errors import ModelError
from hil.nn.checkpoint import Checkpoint
from hil.nn.zoo import ModelSpec

IMPORTANCES = ("group", "magnitude")
STEP = 0.025


@dataclass(frozen=True)
class StructuredSettings:
    """``importance``: "group" takes the L2 norm over all layers that share a channel,
    "magnitude" the L1 norm of the first alone. ``global_ranking`` compares channels of different
    layers with each other; without it every layer loses the same share. ``most`` bounds the
    share that one layer may lose.
    """

    importance: str = "group"
    global_ranking: bool = True
    divisor: int = 8
    most: float = 0.9

    def __post_init__(self) -> None:
        if self.importance not in IMPORTANCES:
            raise ModelError(
                f"importance must be one of {', '.join(IMPORTANCES)}, not {self.importance!r}"
            )


def compress_structured(
    checkpoint: Checkpoint, budget_macs: int, settings: StructuredSettings | None = None
) -> Compressed:
    """Prune at the smallest ratio (a multiple of STEP) that meets the budget.

    Ratios are tried one after the other: a layer that would lose more than ``most`` is left
    alone by torch-pruning, so MACs do not always fall as the ratio grows. Raises ModelError
    without torch-pruning, or if no ratio meets the budget.
    """
    settings = settings or StructuredSettings()
    library = _torch_pruning()
    spec, least = checkpoint.spec, size_of(checkpoint.spec).macs
    ratios = [0.0] if least <= budget_macs else [STEP * i for i in range(1, round(1 / STEP))]
    for ratio in ratios:
        smaller, weights = _pruned(library, checkpoint, ratio, settings)
        macs = size_of(smaller).macs
        least = min(least, macs)
        if macs <= budget_macs:
            break
    else:
        raise ModelError(
            f"{checkpoint.name}: torch-pruning gets down to {least} MACs, not to {budget_macs}; "
            f"raise the budget or the share a layer may lose ({settings.most})"
        )
    return Compressed(
        method="torch-pruning",
        source=checkpoint.name,
        source_digest=checkpoint.digest,
        before=size_of(spec),
        spec=smaller,
        weights=weights,
        settings={**asdict(settings), "ratio": ratio, "budget_macs": budget_macs},
        seed=0,
        data={},
    )


def _torch_pruning() -> ModuleType:
    try:
        import torch_pruning
    except ImportError as error:
        raise ModelError(
            "torch-pruning is not installed; pip install 'hil-clio[compress]'"
        ) from error
    return torch_pruning


def _pruned(
    library: ModuleType, checkpoint: Checkpoint, ratio: float, settings: StructuredSettings
) -> tuple[ModelSpec, Weights]:
    spec = checkpoint.spec
    model = loaded(spec, checkpoint.weights)
    if settings.importance == "group":
        importance = library.importance.GroupMagnitudeImportance(p=2)
    else:
        importance = library.importance.GroupMagnitudeImportance(
            p=1, group_reduction="first", normalizer=None
        )
    logits = [m for m in model.modules() if isinstance(m, nn.Linear)]
    pruner = library.pruner.BasePruner(
        model,
        torch.zeros(1, 3, spec.image, spec.image),
        importance=importance,
        global_pruning=settings.global_ranking,
        pruning_ratio=ratio,
        max_pruning_ratio=settings.most,
        ignored_layers=logits[-1:],
        round_to=settings.divisor,
    )
    pruner.step()
    counts = _counts(structure_of(spec), model)
    weights = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    return resized(spec, counts), weights


def _counts(structure: Structure, model: nn.Module) -> tuple[int, ...]:
    """Group sizes of a pruned model, read from its weights."""
    counts = list(structure.sizes)
    for layer in structure.layers:
        name = f"{layer.name}.weight"
        if layer.makes in structure.free and name in dict(model.named_parameters()):
            counts[layer.makes] = model.get_parameter(name).shape[0]
    return tuple(counts)
