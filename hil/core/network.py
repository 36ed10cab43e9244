"""The quantised network as every part of the bench sees it: frozen layers over 8-bit tensors.

Arithmetic (the integer reference in ``hil.nn.reference`` and every kernel agree bit for bit):

* Activations are 8 bits, height-width-channel order, zero point 0, signed or unsigned.
* Weights are int8, symmetric, one scale an output channel. Accumulators are int32.
* ``MAC`` layers and average pooling requantise an accumulator ``a`` of channel ``c`` to
  ``clamp(round_shift(mulh(a, multiplier[c]), shift[c]), lo, hi)`` where
  ``mulh(a, m) = (a * m) >> 32`` on 64 bits (floor; RISC-V ``mulh``, Arm ``SMMUL``) and
  ``round_shift(v, s) = (v + (1 << (s - 1))) >> s`` for s > 0 and ``v`` for s = 0 (arithmetic
  shift). The real factor is ``multiplier / 2**(32 + shift)`` with 0 <= multiplier < 2**31.
* ``add`` computes ``clamp(round_shift(x * multiplier[0] + y * multiplier[1], shift[0]), lo, hi)``
  in int32; |multiplier| < 2**22 keeps it from overflowing.
* Padding contributes zeros. Average pooling sums its window (no padding) and requantises.
* Maximum pooling keeps scale and type; its padding never wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from hil.core.errors import ModelError


class Op(StrEnum):
    """Kinds of layers a board can run."""

    CONV = "conv2d"
    DEPTHWISE = "depthwise"
    POINTWISE = "pointwise"
    LINEAR = "linear"
    ADD = "add"
    AVGPOOL = "avgpool"
    MAXPOOL = "maxpool"


@dataclass(frozen=True)
class Tensor:
    """An 8-bit activation of ``shape`` (height, width, channels); real value = q * scale."""

    shape: tuple[int, int, int]
    scale: float
    signed: bool

    @property
    def size_bytes(self) -> int:
        height, width, channels = self.shape
        return height * width * channels

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.int8 if self.signed else np.uint8)

    @property
    def c_type(self) -> str:
        return "int8_t" if self.signed else "uint8_t"


@dataclass(frozen=True, eq=False)
class Layer:
    """One kernel call. Layer ``i`` of a network writes tensor ``i + 1``.

    ``weight``: conv2d and pointwise (cout, kh, kw, cin), depthwise (c, kh, kw), linear
    (cout, features) with features in height-width-channel order; None for add and pools.
    ``bias``: int32 (cout,) or None. ``multiplier`` int32 and ``shift`` uint8: (cout,) for MAC
    layers, (1,) for average pooling, (2,) and (1,) for add, None for maximum pooling.
    """

    name: str
    op: Op
    inputs: tuple[int, ...]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    multiplier: np.ndarray | None = None
    shift: np.ndarray | None = None
    clamp: tuple[int, int] = (-128, 127)

    @property
    def weight_bytes(self) -> int:
        """Bytes of parameters as stored here (weights, biases, multipliers, shifts)."""
        arrays = (self.weight, self.bias, self.multiplier, self.shift)
        return sum(a.nbytes for a in arrays if a is not None)


@dataclass(frozen=True)
class Cut:
    """A legal place to split: the first ``layers`` layers run on the device.

    Exactly one tensor, number ``layers``, crosses. ``layers == 0`` sends the raw input.
    """

    name: str
    layers: int


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in execution order; tensor 0 is the input, tensor ``i + 1`` layer i's output."""

    name: str
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]

    def __post_init__(self) -> None:
        if len(self.tensors) != len(self.layers) + 1:
            raise ModelError(
                f"{self.name}: {len(self.layers)} layers need {len(self.layers) + 1} tensors, "
                f"got {len(self.tensors)}"
            )
        for i, layer in enumerate(self.layers):
            if any(t > i for t in layer.inputs):
                raise ModelError(f"{self.name}: layer {i} ({layer.name}) reads a later tensor")
        for cut in self.cuts:
            if len(self.crossing(cut.layers)) != 1:
                raise ModelError(f"{self.name}: more than one tensor crosses cut {cut.name!r}")

    def crossing(self, layers: int) -> set[int]:
        """Tensors made by the first ``layers`` layers (or the input) and read after them."""
        if layers == len(self.layers):
            return {layers}
        read_later = {t for layer in self.layers[layers:] for t in layer.inputs}
        return {t for t in read_later if t <= layers}

    def cut(self, name: str) -> Cut:
        """The cut of that name; ModelError lists the known ones."""
        for cut in self.cuts:
            if cut.name == name:
                return cut
        raise ModelError(
            f"{self.name}: no cut {name!r}; known: {', '.join(c.name for c in self.cuts)}"
        )

    def macs(self, index: int) -> int:
        """Multiply-accumulates of layer ``index`` (for add: elements; for pools: window reads)."""
        layer = self.layers[index]
        height, width, channels = self.tensors[index + 1].shape
        if layer.op is Op.ADD:
            return height * width * channels
        if layer.op is Op.LINEAR:
            return int(layer.weight.size)  # type: ignore[union-attr]
        per_output = layer.kernel[0] * layer.kernel[1]
        if layer.op in (Op.CONV, Op.POINTWISE):
            per_output *= self.tensors[layer.inputs[0]].shape[2]
        return height * width * channels * per_output

    @cached_property
    def digest(self) -> str:
        """SHA-256 over structure and parameters."""
        sha = hashlib.sha256(self.name.encode())
        for part in self._parts():
            sha.update(part)
        return sha.hexdigest()

    def _parts(self) -> Iterator[bytes]:
        for tensor in self.tensors:
            yield repr((tensor.shape, tensor.scale, tensor.signed)).encode()
        for layer in self.layers:
            head = (layer.name, layer.op.value, layer.inputs, layer.kernel, layer.stride)
            yield repr((*head, layer.pad, layer.clamp)).encode()
            for array in (layer.weight, layer.bias, layer.multiplier, layer.shift):
                yield b"-" if array is None else np.ascontiguousarray(array).tobytes()
        yield repr([(cut.name, cut.layers) for cut in self.cuts]).encode()
