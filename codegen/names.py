"""C names, and a layer in words, as the generated files spell them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hil.core.network import Network, Op, Tensor


@dataclass(frozen=True)
class LayerFacts:
    """A layer in words, for the banner of its C file."""

    index: int
    network: str
    name: str
    operator: str
    lines: tuple[str, ...]


def identifier(text: str) -> str:
    """``text`` as the tail of a C identifier: lower case, runs of other characters as one _."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def layer_function(network: Network, index: int) -> str:
    """C function of layer ``index``: ``layer_07_block2_expand``."""
    return f"layer_{index:02d}_{identifier(network.layers[index].name)}"


def tensor_macro(tensor: int) -> str:
    """Macro of layers.h that names a tensor's memory, typed int8_t * or uint8_t *."""
    return f"TENSOR_{tensor}"


def shape_text(tensor: Tensor) -> str:
    """``32x32x8 uint8``: height, width, channels, type."""
    return "x".join(str(n) for n in tensor.shape) + f" {tensor.dtype.name}"


def layer_facts(network: Network, index: int) -> LayerFacts:
    """The banner of layer ``index``."""
    layer = network.layers[index]
    reads = [f"in   tensor {t}: {shape_text(network.tensors[t])}" for t in layer.inputs]
    writes = f"out  tensor {index + 1}: {shape_text(network.tensors[index + 1])}"
    return LayerFacts(
        index, network.name, layer.name, _operator_text(network, index), (*reads, writes)
    )


def _operator_text(network: Network, index: int) -> str:
    layer = network.layers[index]
    if layer.op in (Op.ADD, Op.LINEAR, Op.POINTWISE) and layer.stride == (1, 1):
        return f"{layer.op.value}, {network.macs(index)} multiply-accumulates"
    kernel = f"{layer.kernel[0]}x{layer.kernel[1]}"
    stride = f"stride {layer.stride[0]}x{layer.stride[1]}"
    pad = "padding top {} left {} bottom {} right {}".format(*layer.pad)
    return f"{layer.op.value} {kernel}, {stride}, {pad}, {network.macs(index)} multiply-accumulates"
