"""Networks of many random layers in a row, so that one image tries a kernel at many sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hil.core.network import Cut, Layer, Network, Op, Tensor
from hil.nn.random_layers import random_network


@dataclass(frozen=True)
class Step:
    """One layer of a chain; ``cout`` 0 keeps the channels."""

    op: Op
    cout: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    signed_out: bool = True


def chain(name: str, shape: tuple[int, int, int], signed: bool, steps: list[Step]) -> Network:
    """Each step reads the output of the one before. (ADD brings a pointwise branch with it.)"""
    tensors: list[Tensor] = [Tensor(shape, 1 / 64, signed)]
    layers: list[Layer] = []
    for number, step in enumerate(steps):
        source = tensors[-1]
        part = random_network(
            step.op,
            *source.shape,
            step.cout or source.shape[2],
            step.kernel,
            step.stride,
            step.pad,
            signed_in=source.signed,
            seed=number,
            signed_out=step.signed_out,
        )
        base = len(layers)
        for layer in part.layers:
            inputs = tuple(base + t for t in layer.inputs)
            layers.append(replace(layer, name=f"{step.op.value}{len(layers)}", inputs=inputs))
        tensors += part.tensors[1:]
    cuts = (Cut("input", 0), Cut("all", len(layers)))
    return Network(name, tuple(tensors), tuple(layers), cuts)
