"""ResNet-18 (He et al., CVPR 2016, table 1), in plain torch.

``cifar`` has the usual stem for 32x32 pictures: 3x3 with stride 1 and no maximum pool.
Blocks that change the shape use a strided 1x1 convolution as shortcut (option B there).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from hil.nn.models.parts import check_variant, explicit_counts, initialise, round_channels

# (output channels, stride of the first block) of each stage of two blocks.
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
BLOCKS_A_STAGE = 2


class ConvBnRelu(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1):
        super().__init__(
            nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU(),
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, added, then ReLU.

    ``shortcut`` is the identity where the shapes agree, else a 1x1 convolution with BatchNorm.
    """

    def __init__(self, cin: int, hidden: int, cout: int, stride: int):
        super().__init__()
        self.first = ConvBnRelu(cin, hidden, 3, stride)
        self.second = nn.Sequential(
            nn.Conv2d(hidden, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or cin != cout:
            self.shortcut = nn.Sequential(
                nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.shortcut(x) + self.second(self.first(x)))


class ResNet18(nn.Module):
    """Children of ``blocks`` are the units between which the network may be cut.

    Input: float32 (N, 3, H, W); output: logits (N, classes). ``channels`` (a pruned network)
    overrides ``width``: the output channels of every convolution, as ``channel_counts`` lists
    them. A block whose counts no longer allow the identity gets a convolution as shortcut.
    """

    def __init__(
        self,
        width: float = 1.0,
        classes: int = 10,
        variant: str = "cifar",
        channels: Sequence[int] | None = None,
    ):
        super().__init__()
        check_variant("resnet18", variant)
        counts = iter(explicit_counts("resnet18", channel_counts(width), channels))
        cout = next(counts)
        blocks: list[nn.Module] = [_stem(cout, variant)]
        for _, stride in STAGES:
            for i in range(BLOCKS_A_STAGE):
                cin, hidden, cout = cout, next(counts), next(counts)
                blocks.append(BasicBlock(cin, hidden, cout, stride if i == 0 else 1))
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(cout, classes)
        initialise(self)

    def head(self) -> nn.Sequential:
        """What follows the last block: from its features to logits."""
        return nn.Sequential(self.pool, self.flatten, self.classifier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.pool(self.blocks(x))))


def channel_counts(width: float = 1.0) -> tuple[int, ...]:
    """Output channels of every convolution that may choose them: stem, then (hidden, output)
    of each block. A shortcut's follow from its block's output.
    """
    counts = [round_channels(STAGES[0][0] * width)]
    for cout, _ in STAGES:
        counts += [round_channels(cout * width)] * (2 * BLOCKS_A_STAGE)
    return tuple(counts)


def _stem(cout: int, variant: str) -> nn.Sequential:
    if variant == "cifar":
        return ConvBnRelu(3, cout, 3)
    return nn.Sequential(*ConvBnRelu(3, cout, 7, 2), nn.MaxPool2d(3, 2, 1))
