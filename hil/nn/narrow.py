"""Narrowing: a unit that reads only the first channels of its input (Clio, section 3.2).

When the sender keeps back the last channels of a tensor, the receiver's first unit loses the
weights that would read them. All other weights stay as they were, so that the narrowed unit
starts from what the whole one has learnt.

An identity shortcut cannot be added to fewer channels. It becomes a 1x1 convolution (section
4.1), at first with the identity's own columns: channels not received count as zero.
"""

from __future__ import annotations

import copy
from functools import singledispatchmethod

import torch
from torch import nn

from hil.core.errors import ModelError
from hil.nn.models.mobilenet_v2 import InvertedResidual
from hil.nn.models.resnet import BasicBlock


def narrow(unit: nn.Module, channels: int, of: int | None = None) -> nn.Module:
    """A copy of ``unit`` (of its chain, ``hil.nn.chain``) for its first ``channels`` inputs.

    With all channels it computes exactly what ``unit`` does. With fewer it computes what
    ``unit`` makes of an input whose other channels are zero, provided a convolution (not
    depthwise) or a dense layer is the first with weights: then a channel that is zero and one
    that is absent add the same nothing. BatchNorm or a depthwise convolution in front turns
    zeros into constants, which the whole unit reads and the narrowed one does not.

    ``of``, the unit's input channels, is needed only where its weights do not tell them: a
    dense layer on a flattened picture of unknown size. Raises ModelError for a unit of a kind
    not known here, and for ``channels`` below 1 or above the unit's input channels.
    """
    unit = copy.deepcopy(unit)
    narrowing = _Narrowing(type(unit).__name__, channels, of)
    if not narrowing.shrink(unit):
        raise ModelError(
            f"cannot narrow {narrowing.unit}: no layer in it mixes channels, so its output would "
            "be narrower too; join it with the unit that follows"
        )
    return unit


class _Narrowing:
    """One pass over a unit, in the order of its layers, changing them in place."""

    def __init__(self, unit: str, channels: int, of: int | None):
        self.unit = unit
        self.channels = channels
        self.of = of
        self.positions: int | None = None  # height times width, once an adaptive pool fixed it
        self.flat = False

    def check(self, inputs: int) -> None:
        """``inputs`` channels come in, as a layer's weights tell."""
        if self.of not in (None, inputs):
            raise ModelError(f"{self.unit} reads {inputs} channels, not the {self.of} said")
        self.of = inputs
        if not 1 <= self.channels <= inputs:
            raise ModelError(
                f"cannot narrow {self.unit} to {self.channels} channels: choose 1 to {inputs}, "
                "the channels it reads"
            )

    def first(
        self, parameter: torch.Tensor, axis: int = 0, count: int | None = None
    ) -> nn.Parameter:
        """The first entries along ``axis``, trainable if ``parameter`` was."""
        kept = parameter.detach().narrow(axis, 0, self.channels if count is None else count)
        return nn.Parameter(kept.clone(), parameter.requires_grad)

    @singledispatchmethod
    def shrink(self, module: nn.Module) -> bool:
        """Narrow ``module``'s input; True if its output has all its channels nevertheless."""
        raise ModelError(
            f"cannot narrow {self.unit}: it has a {type(module).__name__} before its channels "
            "are mixed; known are Conv2d, Linear, BatchNorm2d, pooling, activations, Flatten, "
            "Dropout, Sequential, InvertedResidual and BasicBlock"
        )

    @shrink.register(nn.Identity)
    @shrink.register(nn.ReLU)
    @shrink.register(nn.ReLU6)
    @shrink.register(nn.Hardtanh)
    @shrink.register(nn.Dropout)
    @shrink.register(nn.MaxPool2d)
    @shrink.register(nn.AvgPool2d)
    def _channel_by_channel(self, module: nn.Module) -> bool:
        return False

    @shrink.register
    def _adaptive_pool(self, module: nn.AdaptiveAvgPool2d) -> bool:
        size = module.output_size
        height, width = size if isinstance(size, tuple) else (size, size)
        self.positions = None if height is None or width is None else height * width
        return False

    @shrink.register
    def _flatten(self, module: nn.Flatten) -> bool:
        if (module.start_dim, module.end_dim) not in ((1, -1), (1, 3)):
            raise ModelError(f"cannot narrow {self.unit}: its Flatten must keep the batch alone")
        self.flat = True
        return False

    @shrink.register
    def _sequential(self, module: nn.Sequential) -> bool:
        return any(self.shrink(child) for child in module)  # none after the first that mixes

    @shrink.register
    def _batch_norm(self, module: nn.BatchNorm2d) -> bool:
        self.check(module.num_features)
        module.num_features = self.channels
        if module.affine:
            module.weight, module.bias = self.first(module.weight), self.first(module.bias)
        if module.running_mean is not None and module.running_var is not None:
            module.running_mean = module.running_mean[: self.channels].clone()
            module.running_var = module.running_var[: self.channels].clone()
        return False

    @shrink.register
    def _conv(self, module: nn.Conv2d) -> bool:
        self.check(module.in_channels)
        depthwise = module.groups == module.in_channels == module.out_channels
        if module.groups != 1 and not depthwise:
            raise ModelError(
                f"cannot narrow {self.unit}: a convolution of {module.groups} groups; "
                "only 1 and depthwise can be"
            )
        mixes = module.groups == 1
        module.weight = self.first(module.weight, 1 if mixes else 0)
        if not mixes:
            module.groups = module.out_channels = self.channels
            module.bias = None if module.bias is None else self.first(module.bias)
        module.in_channels = self.channels
        return mixes

    @shrink.register
    def _linear(self, module: nn.Linear) -> bool:
        """Behind Flatten: features count channel by channel, each with all its positions."""
        if not self.flat:
            raise ModelError(f"cannot narrow {self.unit}: a Linear without a Flatten before it")
        positions = self.positions
        if positions is None:
            positions = self._positions_of(module)
        self.check(module.in_features // positions)
        module.weight = self.first(module.weight, 1, self.channels * positions)
        module.in_features = self.channels * positions
        return True

    def _positions_of(self, module: nn.Linear) -> int:
        if self.of is None or self.of < 1 or module.in_features % self.of:
            raise ModelError(
                f"cannot narrow {self.unit}: how many channels make its Linear's "
                f"{module.in_features} features? Give of=..., the channels it reads "
                f"(now {self.of}), or put an AdaptiveAvgPool2d before its Flatten"
            )
        return module.in_features // self.of

    @shrink.register
    def _inverted_residual(self, block: InvertedResidual) -> bool:
        layers = [block.depthwise, block.project]
        self.shrink(nn.Sequential(*([] if block.expand is None else [block.expand]), *layers))
        if block.shortcut is not None:
            block.shortcut = self._shortcut(block.shortcut, block.project)
        return True

    @shrink.register
    def _basic_block(self, block: BasicBlock) -> bool:
        self.shrink(block.first)
        block.shortcut = self._shortcut(block.shortcut, block.second)
        return True

    def _shortcut(self, shortcut: nn.Module, beside: nn.Module) -> nn.Module:
        """``shortcut`` for fewer channels, on the device and of the type of ``beside``."""
        if not isinstance(shortcut, nn.Identity):
            self.shrink(shortcut)
            return shortcut
        assert self.of is not None  # the branch has been narrowed, and checked, before
        conv = nn.Conv2d(self.channels, self.of, 1, bias=False).to(next(beside.parameters()))
        with torch.no_grad():
            conv.weight.copy_(torch.eye(self.of, self.channels)[:, :, None, None])
        return conv.train(shortcut.training)
