"""The models this bench knows by name, and the one input convention they share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from hil.core.errors import ModelError
from hil.nn.models.mobilenet_v2 import MobileNetV2
from hil.nn.models.resnet import ResNet18
from hil.nn.models.vgg import VGG

# A pixel p enters as (p - 128) / 64. The int8 input is then p - 128 with scale 1/64: exact,
# no arithmetic on the host or the board, and zero padding is mid-grey.
INPUT_OFFSET = 128
INPUT_SCALE = 1 / 64


@dataclass(frozen=True)
class ModelSpec:
    """Name and size of a network; enough to build it again.

    ``channels`` lists the channel counts of a pruned network in its model's own order (None:
    as ``width`` gives them).
    """

    name: str
    width: float = 1.0
    classes: int = 10
    variant: str = "cifar"
    image: int = 32
    channels: tuple[int, ...] | None = None

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ModelSpec:
        """From ``asdict``, also after JSON, which has no tuples. TypeError for foreign fields."""
        channels = fields.get("channels")
        return cls(**{**fields, "channels": None if channels is None else tuple(channels)})


# name -> builder(width, classes, variant, channels)
_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "mobilenetv2": MobileNetV2,
    "resnet18": ResNet18,
    "vgg16": partial(VGG, 16),
    "vgg19": partial(VGG, 19),
}
MODEL_NAMES = tuple(_BUILDERS)
_SMALLEST_IMAGE = {"vgg16": 32, "vgg19": 32}  # five pools halve it


def build_model(spec: ModelSpec) -> nn.Module:
    """The untrained network. ModelError for a name, width or image that it cannot have."""
    if spec.name not in _BUILDERS:
        raise ModelError(f"no model named {spec.name!r}; known: {', '.join(MODEL_NAMES)}")
    if not 0 < spec.width < math.inf:
        raise ModelError(f"{spec.name}: width {spec.width:g}; a multiplier above 0 is needed")
    smallest = _SMALLEST_IMAGE.get(spec.name, 1)
    if spec.image < smallest:
        raise ModelError(
            f"{spec.name}: images of {spec.image} pixels; it takes {smallest} or more a side"
        )
    return _BUILDERS[spec.name](spec.width, spec.classes, spec.variant, spec.channels)


def normalise(x: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) on ``device``, channels last in memory."""
    tensor = torch.from_numpy(x).to(device).permute(0, 3, 1, 2)
    return (tensor.to(torch.float32) - INPUT_OFFSET) * INPUT_SCALE
