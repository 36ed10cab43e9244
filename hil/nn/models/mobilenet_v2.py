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

from hil.core.errors import ModelError

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


def round_channels(channels: float, divisor: int = 8) -> int:
    """Channels rounded to a multiple of ``divisor``, never below 90 % of what was asked."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class ConvBnRelu6(nn.Sequential):
    """Convolution, batch normalisation, ReLU6."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(
            nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; identity skip where the shapes agree."""

    def __init__(self, cin: int, hidden: int, cout: int, stride: int, expand: bool = True):
        super().__init__()
        self.skip = stride == 1 and cin == cout
        self.expand = ConvBnRelu6(cin, hidden, 1) if expand else None
        self.depthwise = ConvBnRelu6(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, cout, 1, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.skip else y


class MobileNetV2(nn.Module):
    """Children of ``blocks`` are the units between which the network may be cut.

    Input: float32 (N, 3, H, W); output: logits (N, classes). ``channels`` (a pruned network)
    overrides ``width``: the output channels of every convolution in order, as
    ``channel_counts`` lists them.
    """

    def __init__(
        self,
        width: float = 1.0,
        classes: int = 10,
        variant: str = "cifar",
        channels: Sequence[int] | None = None,
    ):
        super().__init__()
        if variant not in ("cifar", "imagenet"):
            raise ModelError(f"mobilenetv2: variant must be 'cifar' or 'imagenet', not {variant!r}")
        default = channel_counts(width, variant)
        counts = default if channels is None else tuple(channels)
        if len(counts) != len(default) or min(counts) < 1:
            raise ModelError(
                f"mobilenetv2: needs {len(default)} channel counts of at least 1, got {counts}"
            )
        remaining = iter(counts)
        cout = next(remaining)
        blocks: list[nn.Module] = [ConvBnRelu6(3, cout, 3, 1 if variant == "cifar" else 2)]
        for expansion, _, repeats, stride in _stages(variant):
            for i in range(repeats):
                cin, hidden, cout = cout, cout, 0
                if expansion != 1:
                    hidden = next(remaining)
                cout = next(remaining)
                step = stride if i == 0 else 1
                blocks.append(InvertedResidual(cin, hidden, cout, step, expansion != 1))
        head = next(remaining)
        blocks.append(ConvBnRelu6(cout, head, 1))
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(head, classes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

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
