"""VGG-16 and VGG-19 with BatchNorm (Simonyan and Zisserman, ICLR 2015, table 1, D and E).

The head is the one usual for 32x32 pictures: average pool and one dense layer. The two dense
layers of 4096 in the paper hold nine tenths of its weights and fix the picture to 224x224;
with the pool, both variants are the same network and take any picture of 32 pixels or more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from hil.core.errors import ModelError
from hil.nn.models.parts import check_variant, explicit_counts, initialise, round_channels

STAGE_CHANNELS = (64, 128, 256, 512, 512)
# Convolutions a stage; a maximum pool ends each.
STAGE_CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """Children of ``blocks`` are the units between which the network may be cut: each a
    convolution with BatchNorm and ReLU, and the maximum pool if one follows.

    Input: float32 (N, 3, H, W); output: logits (N, classes). ``channels`` (a pruned network)
    overrides ``width``: the output channels of every convolution in order.
    """

    def __init__(
        self,
        depth: int,
        width: float = 1.0,
        classes: int = 10,
        variant: str = "cifar",
        channels: Sequence[int] | None = None,
    ):
        super().__init__()
        name = f"vgg{depth}"
        check_variant(name, variant)
        counts = iter(explicit_counts(name, channel_counts(depth, width), channels))
        cin = 3
        blocks = []
        for convolutions in STAGE_CONVOLUTIONS[depth]:
            for i in range(convolutions):
                cout = next(counts)
                blocks.append(_unit(cin, cout, pool=i == convolutions - 1))
                cin = cout
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(cin, classes)
        initialise(self)

    def head(self) -> nn.Sequential:
        """What follows the last block: from its features to logits."""
        return nn.Sequential(self.pool, self.flatten, self.classifier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.pool(self.blocks(x))))


def channel_counts(depth: int, width: float = 1.0) -> tuple[int, ...]:
    """Output channels of every convolution, in order. Raises ModelError for a foreign depth."""
    if depth not in STAGE_CONVOLUTIONS:
        raise ModelError(f"vgg: depth must be 16 or 19, not {depth}")
    return tuple(
        round_channels(cout * width)
        for cout, convolutions in zip(STAGE_CHANNELS, STAGE_CONVOLUTIONS[depth], strict=True)
        for _ in range(convolutions)
    )


def _unit(cin: int, cout: int, pool: bool) -> nn.Sequential:
    layers = [nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)
