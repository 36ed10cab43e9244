"""What the models share: channel rounding, explicit channel counts, first weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hil.core.errors import ModelError

VARIANTS = ("cifar", "imagenet")


def round_channels(channels: float, divisor: int = 8) -> int:
    """Channels rounded to a multiple of ``divisor``, never below 90 % of what was asked."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def check_variant(model: str, variant: str) -> None:
    """Raises ModelError unless ``variant`` is one of VARIANTS."""
    if variant not in VARIANTS:
        raise ModelError(f"{model}: variant must be 'cifar' or 'imagenet', not {variant!r}")


def explicit_counts(
    model: str, default: tuple[int, ...], channels: Sequence[int] | None
) -> tuple[int, ...]:
    """``channels``, or ``default`` without it. Raises ModelError for another number of them."""
    counts = default if channels is None else tuple(channels)
    if len(counts) != len(default) or min(counts) < 1:
        raise ModelError(
            f"{model}: needs {len(default)} channel counts of at least 1, got {counts}"
        )
    return counts


def initialise(model: nn.Module) -> None:
    """He et al. (ICCV 2015) for convolutions, small weights for the classifier."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)
