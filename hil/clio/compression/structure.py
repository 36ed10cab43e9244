"""What a model's channel counts decide: groups of tied channels, and the layers between them.

Channels that are added to each other, or pass a depthwise convolution, are the same channels: a
*group*. Group 0 is the picture; the last group holds the logits; both are fixed. One traced pass
over a model without storage (torch's meta device) finds the groups, so any model made of
convolutions, BatchNorm, activations, pools, additions and dense layers has a structure.

A *counts* vector gives the size of every group, fixed ones included. All costs are sums of
products of counts, so a search prices a candidate in microseconds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from hil.core.errors import ModelError
from hil.nn.zoo import ModelSpec, build_model

Counts = tuple[int, ...]


class Kind(StrEnum):
    """Kinds of layers as far as their cost is concerned."""

    CONV = "conv"  # groups = 1
    DEPTHWISE = "depthwise"
    LINEAR = "linear"
    NORM = "norm"
    ADD = "add"
    POOL = "pool"


# Layers that mix channels: they read one group and make another.
DENSE = (Kind.CONV, Kind.LINEAR)


@dataclass(frozen=True)
class LayerShape:
    """One layer of ``kind`` at module path ``name`` between two groups.

    ``positions`` are output pixels, ``area`` the pixels read for one of them (for a dense layer:
    pixels a channel brings).
    """

    name: str
    kind: Kind
    reads: int
    makes: int
    positions: int
    area: int
    stride: int = 1
    bias: bool = False

    def macs(self, counts: Sequence[int]) -> int:
        """Multiply-accumulates, counted as ``hil.core.network.Network.macs`` does."""
        if self.kind is Kind.NORM:
            return 0
        per_output = self.area * (counts[self.reads] if self.kind in DENSE else 1)
        return self.positions * counts[self.makes] * per_output

    def parameters(self, counts: Sequence[int]) -> int:
        """Trained numbers: weights, biases, gains and offsets of BatchNorm."""
        made = counts[self.makes]
        if self.kind is Kind.NORM:
            return 2 * made
        if self.kind not in (*DENSE, Kind.DEPTHWISE):
            return 0
        inputs = counts[self.reads] if self.kind in DENSE else 1
        return made * (self.area * inputs + self.bias)


@dataclass(frozen=True)
class Structure:
    """Layers in execution order, group sizes, and which group each entry of ``channels`` sets."""

    layers: tuple[LayerShape, ...]
    sizes: Counts
    entries: tuple[int, ...]

    @cached_property
    def free(self) -> tuple[int, ...]:
        """Groups whose size may be chosen, in order of execution."""
        return tuple(sorted(set(self.entries)))

    def macs(self, counts: Sequence[int]) -> int:
        return sum(layer.macs(counts) for layer in self.layers)

    def parameters(self, counts: Sequence[int]) -> int:
        return sum(layer.parameters(counts) for layer in self.layers)

    def channels(self, counts: Sequence[int]) -> tuple[int, ...]:
        """``ModelSpec.channels`` of a network with these group sizes."""
        return tuple(counts[group] for group in self.entries)

    def counts(self, channels: Sequence[int]) -> Counts:
        """Group sizes of ``channels``. Raises ModelError where tied entries differ."""
        counts = list(self.sizes)
        seen: dict[int, int] = {}
        for entry, (group, size) in enumerate(zip(self.entries, channels, strict=True)):
            if seen.setdefault(group, size) != size:
                raise ModelError(
                    f"channels[{entry}] is {size}, but it is added to channels of which there "
                    f"are {seen[group]}; both must be equal"
                )
            counts[group] = size
        return tuple(counts)

    def readers(self, group: int) -> tuple[LayerShape, ...]:
        """Dense layers that read a group."""
        return tuple(x for x in self.layers if x.reads == group and x.kind in DENSE)


@lru_cache(maxsize=64)
def structure_of(spec: ModelSpec) -> Structure:
    """Trace ``spec``. Raises ModelError for a model with an operator that is not known here."""
    with torch.device("meta"):
        model = build_model(spec).eval()
    walk = _Walk(spec, model)
    return walk.structure()


def explicit(spec: ModelSpec) -> ModelSpec:
    """The same network with its channel counts written out."""
    structure = structure_of(spec)
    return replace(spec, channels=structure.channels(structure.sizes))


def resized(spec: ModelSpec, counts: Sequence[int]) -> ModelSpec:
    """``spec`` with other group sizes. Models of the zoo keep their skips whatever the sizes."""
    if min(counts) < 1:
        raise ModelError(f"{spec.name}: every group needs a channel, got {tuple(counts)}")
    return replace(spec, channels=structure_of(spec).channels(counts))


class _Walk:
    """One pass over a traced model; groups are merged (union-find) as layers tie them."""

    def __init__(self, spec: ModelSpec, model: nn.Module):
        self.spec = spec
        try:
            self.graph = fx.symbolic_trace(model)
        except (fx.proxy.TraceError, TypeError) as error:
            raise ModelError(f"{spec.name}: the model cannot be traced ({error})") from error
        image = torch.zeros(1, 3, spec.image, spec.image, device="meta")
        ShapeProp(self.graph).propagate(image)
        self.modules = dict(self.graph.named_modules())
        self.parents: list[int] = []
        self.group_sizes: list[int] = []
        self.group_of: dict[fx.Node, int] = {}
        self.layers: list[LayerShape] = []

    def structure(self) -> Structure:
        output = 0
        for node in self.graph.graph.nodes:
            if node.op == "output":
                output = self.group_of[node.args[0]]
            else:
                self._visit(node)
        roots = sorted({self.root(group) for group in range(len(self.parents))})
        number = {root: i for i, root in enumerate(roots)}
        fixed = {0, number[self.root(output)]}

        def place(group: int) -> int:
            return number[self.root(group)]

        layers = tuple(
            replace(layer, reads=place(layer.reads), makes=place(layer.makes))
            for layer in self.layers
        )
        # A shortcut's convolution follows from its block; the others choose, in this order.
        entries = tuple(
            layer.makes
            for layer in layers
            if layer.kind is Kind.CONV and "shortcut" not in layer.name.split(".")
        )
        if fixed & set(entries):
            raise ModelError(f"{self.spec.name}: a convolution makes the picture or the logits")
        return Structure(layers, tuple(self.group_sizes[root] for root in roots), entries)

    def root(self, group: int) -> int:
        while self.parents[group] != group:
            group = self.parents[group]
        return group

    def new_group(self, size: int) -> int:
        self.parents.append(len(self.parents))
        self.group_sizes.append(size)
        return self.parents[-1]

    def tie(self, first: int, second: int) -> int:
        a, b = sorted((self.root(first), self.root(second)))
        self.parents[b] = a
        return a

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.group_of[node] = self.new_group(3)
            return
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if module is not None:
            handler = _handler(module)
        elif node.op == "call_function":
            handler = _FUNCTIONS.get(node.target)
        else:
            handler = None
        if handler is None:
            kind = type(module).__name__ if module is not None else node.target
            raise ModelError(f"{self.spec.name}: {kind} at {node.name} has no structure here")
        self.group_of[node] = handler(self, node, module)

    def source(self, node: fx.Node) -> int:
        return self.group_of[node.all_input_nodes[0]]

    def emit(self, node: fx.Node, kind: Kind, reads: int, makes: int, area: int, **more) -> int:
        positions = _pixels(node)
        name = str(node.target) if node.op == "call_module" else node.name
        self.layers.append(LayerShape(name, kind, reads, makes, positions, area, **more))
        return makes


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _pixels(node: fx.Node) -> int:
    shape = _shape(node)
    return shape[2] * shape[3] if len(shape) == 4 else 1


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _conv(walk: _Walk, node: fx.Node, module: nn.Conv2d) -> int:
    reads, (rows, columns) = walk.source(node), _pair(module.kernel_size)
    more = {"stride": _pair(module.stride)[0], "bias": module.bias is not None}
    if module.groups == 1:
        makes = walk.new_group(module.out_channels)
        return walk.emit(node, Kind.CONV, reads, makes, rows * columns, **more)
    if not module.groups == module.in_channels == module.out_channels:
        raise ModelError(
            f"{walk.spec.name}: {node.target} has {module.groups} groups; only ordinary and "
            "depthwise convolutions can be pruned"
        )
    return walk.emit(node, Kind.DEPTHWISE, reads, reads, rows * columns, **more)


def _linear(walk: _Walk, node: fx.Node, module: nn.Linear) -> int:
    reads = walk.source(node)
    area = module.in_features // walk.group_sizes[walk.root(reads)]
    makes = walk.new_group(module.out_features)
    return walk.emit(node, Kind.LINEAR, reads, makes, area, bias=module.bias is not None)


def _norm(walk: _Walk, node: fx.Node, module: nn.Module) -> int:
    group = walk.source(node)
    return walk.emit(node, Kind.NORM, group, group, 1)


def _pool(walk: _Walk, node: fx.Node, module: Any) -> int:
    group = walk.source(node)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        area = _pixels(node.all_input_nodes[0]) // _pixels(node)
        if area == 1:  # a pool of one pixel computes nothing, and capture drops it
            return group
    else:
        rows, columns = _pair(module.kernel_size)
        area = rows * columns
    return walk.emit(node, Kind.POOL, group, group, area)


def _add(walk: _Walk, node: fx.Node, module: None) -> int:
    first, second = (walk.group_of[x] for x in node.args if isinstance(x, fx.Node))
    group = walk.tie(first, second)
    return walk.emit(node, Kind.ADD, group, group, 1)


def _same(walk: _Walk, node: fx.Node, module: nn.Module | None) -> int:
    return walk.source(node)


_Handler = Callable[[_Walk, fx.Node, Any], int]
_MODULES: tuple[tuple[tuple[type[nn.Module], ...], _Handler], ...] = (
    ((nn.Conv2d,), _conv),
    ((nn.Linear,), _linear),
    ((nn.BatchNorm2d,), _norm),
    ((nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.MaxPool2d), _pool),
    ((nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Flatten, nn.Dropout, nn.Identity), _same),
)
_FUNCTIONS: dict[Any, _Handler] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    torch.relu: _same,
    nn.functional.relu: _same,
    nn.functional.relu6: _same,
    torch.flatten: _same,
}


def _handler(module: nn.Module) -> _Handler | None:
    for classes, handler in _MODULES:
        if isinstance(module, classes):
            return handler
    return None
