"""MobileNetV2 (Sandler et al., CVPR 2018, table 2), in plain torch.

``cifar`` uses the usual 32x32 variant: the stem and the second stage keep stride 1, so
that the last feature map is 4x4 and not 1x1. The head width is scaled below 1.0 as well:
a 1280-channel head would be half of all weights of a 0.35-wide net, and microcontrollers
pay for weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from hil.nn.models.parts import check_variant, explicit_counts, initialise, round_channels

# (expansion, output channels, blocks, stride of the first block) a stage, for 224x224.
STAGES_IMAGENET = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STAGES_CIFAR = tuple((t, c, n, 1 if c == 24 else s) for t, c, n, s in STAGES_IMAGENET)


class ConvBnRelu6(nn.Sequential):
    """Convolution, batch normalisation, ReLU6."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(
            nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; identity shortcut if allowed and shapes agree."""

    def __init__(
        self,
        cin: int,
        hidden: int,
        cout: int,
        stride: int,
        expand: bool = True,
        may_skip: bool = True,
    ):
        super().__init__()
        self.expand = ConvBnRelu6(cin, hidden, 1) if expand else None
        self.depthwise = ConvBnRelu6(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, cout, 1, bias=False), nn.BatchNorm2d(cout))
        self.shortcut: nn.Module | None = None
        if may_skip and stride == 1 and cin == cout:
            self.shortcut = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return y if self.shortcut is None else self.shortcut(x) + y


class MobileNetV2(nn.Module):
    """Children of ``blocks`` are the units between which the network may be cut.

    Input: float32 (N, 3, H, W); output: logits (N, classes). ``channels`` (a pruned network)
    overrides ``width``: the output channels of every convolution in order, as
    ``channel_counts`` lists them. Only blocks that skip at ``width`` may still skip then: counts
    that happen to agree after pruning must not add a skip to trained weights.
    """

    def __init__(
        self,
        width: float = 1.0,
        classes: int = 10,
        variant: str = "cifar",
        channels: Sequence[int] | None = None,
    ):
        super().__init__()
        check_variant("mobilenetv2", variant)
        default = channel_counts(width, variant)
        counts = explicit_counts("mobilenetv2", default, channels)
        remaining = zip(counts, default, strict=True)
        cout, usual = next(remaining)
        blocks: list[nn.Module] = [ConvBnRelu6(3, cout, 3, 1 if variant == "cifar" else 2)]
        for expansion, _, repeats, stride in _stages(variant):
            for i in range(repeats):
                cin, hidden, usual_cin = cout, cout, usual
                if expansion != 1:
                    hidden, _ = next(remaining)
                cout, usual = next(remaining)
                step, may_skip = stride if i == 0 else 1, usual_cin == usual
                blocks.append(InvertedResidual(cin, hidden, cout, step, expansion != 1, may_skip))
        head, _ = next(remaining)
        blocks.append(ConvBnRelu6(cout, head, 1))
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(head, classes)
        initialise(self)

    def head(self) -> nn.Sequential:
        """What follows the last block: from its features to logits."""
        return nn.Sequential(self.pool, self.flatten, self.classifier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.pool(self.blocks(x))))


def channel_counts(width: float = 1.0, variant: str = "cifar") -> tuple[int, ...]:
    """Output channels of every convolution that may choose them, in order.

    Stem, then (hidden, output) of each block (output alone where nothing is expanded), head.
    """
    channels = round_channels(32 * width)
    counts = [channels]
    for expansion, cout, repeats, _ in _stages(variant):
        cout = round_channels(cout * width)
        for _ in range(repeats):
            counts += [cout] if expansion == 1 else [channels * expansion, cout]
            channels = cout
    return (*counts, round_channels(1280 * width))


def _stages(variant: str) -> tuple[tuple[int, int, int, int], ...]:
    return STAGES_CIFAR if variant == "cifar" else STAGES_IMAGENET
