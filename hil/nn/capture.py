"""Graph capture: any torch model made of known operators becomes a ``FloatGraph``.

``torch.export`` gives a flat list of ATen operators, each with the module it came from. They
are walked once, in order. BatchNorm and activations are folded into the layer before them
when nothing else reads its output; otherwise they become 1x1 depthwise layers of their own,
so pre-activation networks work too.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from hil.core.errors import ModelError, UnsupportedOperatorError
from hil.core.network import Cut, Op
from hil.nn.blocks import BlockNames
from hil.nn.float_graph import FloatGraph, FloatLayer

SUPPORTED = (
    "conv2d (groups 1 or depthwise, no dilation), linear, batch_norm (evaluation), add of two "
    "tensors, relu, relu6, hardtanh, clamp, avg_pool2d and adaptive_avg_pool2d (no padding, even "
    "windows), mean over height and width, max_pool2d, flatten, dropout (evaluation), identity"
)


@dataclass(frozen=True)
class _Value:
    """What a graph node stands for: a tensor of the network, perhaps flattened (C, H, W)."""

    tensor: int
    flat: bool = False


def capture(model: nn.Module, image: int, name: str) -> FloatGraph:
    """The layers of ``model`` for one 3 x ``image`` x ``image`` picture.

    The model is not changed; it is captured in evaluation mode. Raises
    UnsupportedOperatorError for an operator (or a variant of one) that no board can run, and
    ModelError if the model cannot be exported at all.
    """
    model = copy.deepcopy(model).cpu().eval()
    try:
        program = torch.export.export(model, (torch.zeros(1, 3, image, image),))
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{name}: torch.export cannot capture the model for a 1x3x{image}x{image} input: "
            f"{reason}"
        ) from error
    return _Capture(model, program, name, (image, image, 3)).graph()


class _Capture:
    """One walk over an exported program."""

    def __init__(self, model, program, name: str, input_shape: tuple[int, int, int]):
        self.name = name
        self.names = BlockNames(model)
        self.nodes = program.graph.nodes
        self.constants = _constants(program)
        self.input_shape = input_shape
        self.layers: list[FloatLayer] = []
        self.values: dict[fx.Node, _Value] = {}
        # Which graph node a tensor currently is: only its one reader may be folded into it.
        self.producer: dict[int, fx.Node] = {}

    def graph(self) -> FloatGraph:
        output = None
        for node in self.nodes:
            if node.op == "placeholder":
                if node.name not in self.constants:
                    self.values[node] = _Value(0)
                    self.producer[0] = node
            elif node.op == "output":
                output = self._only_output(node)
            elif node.users or _in_place(node):
                self._visit(node)
        if not self.layers or output is None or output.tensor != len(self.layers):
            raise ModelError(f"{self.name}: the model's output is not that of its last layer")
        names = self.names.layer_names(self.layers)
        layers = tuple(
            replace(layer, name=name, weight=_float32(layer.weight), bias=_float32(layer.bias))
            for layer, name in zip(self.layers, names, strict=True)
        )
        return FloatGraph(self.name, self.input_shape, layers, self._cuts(layers))

    def _only_output(self, node: fx.Node) -> _Value | None:
        outputs = node.args[0]
        if not isinstance(outputs, tuple | list) or len(outputs) != 1:
            raise ModelError(f"{self.name}: the model must return one tensor")
        return self.values.get(outputs[0])  # type: ignore[arg-type]

    def _cuts(self, layers: tuple[FloatLayer, ...]) -> tuple[Cut, ...]:
        cuts = [Cut("input", 0)]
        for block, end in self.names.block_ends(layers):
            crossing = {t for layer in layers[end:] for t in layer.inputs if t <= end}
            if end < len(layers) and crossing == {end}:
                cuts.append(Cut(block, end))
        return (*cuts, Cut("all", len(layers)))

    def _visit(self, node: fx.Node) -> None:
        handler = _HANDLERS.get(_operator_name(node))
        if node.op != "call_function" or handler is None:
            raise self._unsupported(node)
        if _in_place(node):
            readers = self.producer[self.value(node, node.args[0]).tensor].users
            self.require(node, len(readers) == 1, "in place on a tensor that is read elsewhere")
        handler(self, node)

    # What handlers use.

    def value(self, node: fx.Node, argument: Any) -> _Value:
        if isinstance(argument, fx.Node) and argument in self.values:
            return self.values[argument]
        raise self._unsupported(node, "needs activations as input, not constants or scalars")

    def constant(self, node: fx.Node, argument: Any) -> np.ndarray:
        known = isinstance(argument, fx.Node) and argument.name in self.constants
        self.require(node, known, "parameters computed in forward()")
        return self.constants[argument.name].detach().to(torch.float64).numpy()

    def shape(self, tensor: int) -> tuple[int, int, int]:
        return self.layers[tensor - 1].shape if tensor else self.input_shape

    def emit(self, node: fx.Node, layer: FloatLayer, flat: bool = False) -> None:
        self.layers.append(replace(layer, module=_module_path(node)))
        self.values[node] = _Value(len(self.layers), flat)
        self.producer[len(self.layers)] = node

    def alias(self, node: fx.Node, value: _Value) -> None:
        """``node`` is only another name or shape of ``value``."""
        self.values[node] = value
        if len(node.users) and self.sole_reader(value, node):
            self.producer[value.tensor] = node

    def sole_reader(self, value: _Value, reader: fx.Node) -> bool:
        users = self.producer[value.tensor].users
        return len(users) == 1 and reader in users

    def fold(self, node: fx.Node, value: _Value, layer: FloatLayer) -> None:
        """Replace the layer that made ``value``; ``node`` now names its output."""
        self.layers[value.tensor - 1] = layer
        self.values[node] = value
        self.producer[value.tensor] = node

    def require(self, node: fx.Node, holds: bool, reason: str) -> None:
        if not holds:
            raise self._unsupported(node, reason)

    def _unsupported(self, node: fx.Node, reason: str = "") -> UnsupportedOperatorError:
        place = _module_path(node) or "the model's own forward()"
        detail = f" ({reason})" if reason else ""
        return UnsupportedOperatorError(
            f"{self.name}: operator {_operator_name(node)} at {place}{detail} is not supported; "
            f"supported: {SUPPORTED}"
        )


def _float32(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else np.ascontiguousarray(array, dtype=np.float32)


def _constants(program) -> dict[str, torch.Tensor]:
    """Parameters, buffers and constants by the name of their placeholder."""
    held = {**program.state_dict, **program.constants}
    return {
        spec.arg.name: held[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.target is not None
    }


def _operator_name(node: fx.Node) -> str:
    target = node.target
    if target is operator.add:
        return "add"
    packet = getattr(target, "overloadpacket", None)
    name = packet.__name__ if packet is not None else getattr(target, "__name__", str(target))
    return name.rstrip("_") if not name.startswith("_") else name


def _in_place(node: fx.Node) -> bool:
    """ATen's spelling: relu_, add_. torch.export keeps them as they were written."""
    packet = getattr(node.target, "overloadpacket", None)
    return packet is not None and packet.__name__.endswith("_")


def _module_path(node: fx.Node) -> str:
    """Dotted path of the innermost module the operator was called in ('' for the model)."""
    stack = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""


def _pair(value: Any) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1])


def _arguments(node: fx.Node, count: int) -> list[Any]:
    """The first ``count`` arguments, the missing ones from the operator's own defaults."""
    schema = node.target._schema.arguments[:count]  # type: ignore[union-attr]
    given = dict(zip((argument.name for argument in schema), node.args, strict=False))
    given |= node.kwargs
    return [given.get(argument.name, argument.default_value) for argument in schema]


def _output_hw(node: fx.Node) -> tuple[int, int]:
    return tuple(node.meta["val"].shape[2:4])  # type: ignore[return-value]


def _conv(walk: _Capture, node: fx.Node) -> None:
    x, weight, bias, stride, padding, dilation, groups = _arguments(node, 7)
    source = walk.value(node, x)
    cin = walk.shape(source.tensor)[2]
    w = walk.constant(node, weight)
    cout, _, *kernel = w.shape
    depthwise = groups > 1 and groups == cin == cout
    walk.require(node, groups == 1 or depthwise, f"groups {groups}, {cin} to {cout} channels")
    walk.require(node, _pair(dilation) == (1, 1), f"dilation {dilation}")
    stride = _pair(stride)
    pad = _conv_padding(padding, kernel)
    plain = stride == (1, 1) and pad == (0, 0, 0, 0)
    op = Op.DEPTHWISE if depthwise else Op.CONV
    if kernel == [1, 1] and plain and not depthwise:
        op = Op.POINTWISE
    walk.emit(
        node,
        FloatLayer(
            name="",
            op=op,
            inputs=(source.tensor,),
            shape=(*_output_hw(node), cout),
            kernel=_pair(kernel),
            stride=stride,
            pad=pad,
            weight=w[:, 0] if depthwise else w.transpose(0, 2, 3, 1),
            bias=_bias(walk, node, bias, cout),
        ),
    )


def _conv_padding(padding: Any, kernel: list[int]) -> tuple[int, int, int, int]:
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":  # torch puts the odd zero at the bottom and right
        rows, columns = kernel[0] - 1, kernel[1] - 1
        return (rows // 2, columns // 2, rows - rows // 2, columns - columns // 2)
    rows, columns = _pair(padding)
    return (rows, columns, rows, columns)


def _bias(walk: _Capture, node: fx.Node, bias: Any, cout: int) -> np.ndarray:
    return np.zeros(cout) if bias is None else walk.constant(node, bias)


def _linear(walk: _Capture, node: fx.Node) -> None:
    x, weight, bias = _arguments(node, 3)
    source = walk.value(node, x)
    height, width, channels = walk.shape(source.tensor)
    w = walk.constant(node, weight)
    walk.require(node, source.flat, "only on flattened activations")
    # torch flattens (C, H, W); here features count in height-width-channel order.
    w = w.reshape(len(w), channels, height, width).transpose(0, 2, 3, 1).reshape(len(w), -1)
    layer = FloatLayer(
        "",
        Op.LINEAR,
        (source.tensor,),
        (1, 1, len(w)),
        weight=w,
        bias=_bias(walk, node, bias, len(w)),
    )
    walk.emit(node, layer, flat=True)


def _batch_norm(walk: _Capture, node: fx.Node) -> None:
    x, weight, bias, mean, var, training, _, eps = _arguments(node, 8)
    walk.require(node, not training, "training mode; call .eval()")
    walk.require(node, mean is not None and var is not None, "without running statistics")
    source = walk.value(node, x)
    gain = 1 / np.sqrt(walk.constant(node, var) + eps)
    if weight is not None:
        gain = gain * walk.constant(node, weight)
    offset = -walk.constant(node, mean) * gain
    if bias is not None:
        offset = offset + walk.constant(node, bias)
    _scale(walk, node, source, gain, offset)


def _scale(walk: _Capture, node, source: _Value, gain: np.ndarray, offset: np.ndarray) -> None:
    """Per channel ``x * gain + offset``, folded backwards when that changes nothing else."""
    layer = walk.layers[source.tensor - 1] if source.tensor else None
    if layer is None or not _scalable(walk, node, source, layer):
        walk.emit(node, _per_channel(walk, source, gain, offset), source.flat)
        return
    weight, bias = layer.parameters()
    weight = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    walk.fold(node, source, replace(layer, weight=weight, bias=bias * gain + offset))


def _scalable(walk: _Capture, node: fx.Node, source: _Value, layer: FloatLayer) -> bool:
    """A layer with weights and no activation yet, whose output only ``node`` reads."""
    linear = layer.weight is not None and (layer.low, layer.high) == (-math.inf, math.inf)
    return linear and walk.sole_reader(source, node)


def _per_channel(walk: _Capture, source: _Value, gain, offset) -> FloatLayer:
    shape = walk.shape(source.tensor)
    return FloatLayer(
        "",
        Op.DEPTHWISE,
        (source.tensor,),
        shape,
        weight=np.asarray(gain, float).reshape(-1, 1, 1),
        bias=np.asarray(offset, float),
    )


def _activation(low: float, high: float) -> Callable[[_Capture, fx.Node], None]:
    return lambda walk, node: _bound(walk, node, low, high)


def _clamp(walk: _Capture, node: fx.Node) -> None:
    low, high = [*_arguments(node, 3), None][1:3]  # clamp_min has no upper bound at all
    _bound(walk, node, -math.inf if low is None else low, math.inf if high is None else high)


def _hardtanh(walk: _Capture, node: fx.Node) -> None:
    _, low, high = _arguments(node, 3)
    _bound(walk, node, low, high)


def _bound(walk: _Capture, node: fx.Node, low: float, high: float) -> None:
    source = walk.value(node, node.args[0])
    chain = _clampable(walk, node, source)
    if chain:
        for index in chain:
            walk.layers[index] = _bounded(walk.layers[index], low, high)
        walk.fold(node, source, walk.layers[chain[0]])
        return
    channels = walk.shape(source.tensor)[2]
    made = _per_channel(walk, source, np.ones(channels), np.zeros(channels))
    walk.emit(node, _bounded(made, low, high), source.flat)


def _clampable(walk: _Capture, node: fx.Node, source: _Value) -> list[int]:
    """Layers to clamp so that ``source`` is clamped; empty if another reader would notice.

    A maximum pool has no clamp of its own, but clamping before it gives the same maximum.
    """
    if source.tensor == 0 or not walk.sole_reader(source, node):
        return []
    chain = [source.tensor - 1]
    while walk.layers[chain[-1]].op is Op.MAXPOOL:
        before = walk.layers[chain[-1]].inputs[0]
        if before == 0 or len(walk.producer[before].users) != 1:
            return []
        chain.append(before - 1)
    return chain


def _bounded(layer: FloatLayer, low: float, high: float) -> FloatLayer:
    """``layer`` clamped once more."""
    return replace(
        layer,
        low=min(max(layer.low, low), high),
        high=max(min(layer.high, high), low),
    )


def _add(walk: _Capture, node: fx.Node) -> None:
    first, second = walk.value(node, node.args[0]), walk.value(node, node.args[1])
    shapes = walk.shape(first.tensor), walk.shape(second.tensor)
    walk.require(node, bool(node.kwargs.get("alpha", 1) == 1), "alpha other than 1")
    walk.require(node, shapes[0] == shapes[1], f"broadcasting {shapes[0]} with {shapes[1]}")
    walk.emit(node, FloatLayer("", Op.ADD, (first.tensor, second.tensor), shapes[0]), first.flat)


def _avg_pool(walk: _Capture, node: fx.Node) -> None:
    x, kernel, stride, padding, _, _, divisor = _arguments(node, 7)
    walk.require(node, _pair(padding) == (0, 0), f"padding {padding}")
    walk.require(node, divisor is None, f"divisor_override {divisor}")
    source = walk.value(node, x)
    kernel = _pair(kernel)
    stride = _pair(stride) if stride else kernel
    height, width, _ = walk.shape(source.tensor)
    rows, columns = _output_hw(node)
    inside = (rows - 1) * stride[0] + kernel[0] <= height
    inside &= (columns - 1) * stride[1] + kernel[1] <= width
    walk.require(node, inside, "ceil_mode with windows over the edge")
    _average(walk, node, source, kernel, stride, (rows, columns))


def _adaptive_avg_pool(walk: _Capture, node: fx.Node) -> None:
    source = walk.value(node, node.args[0])
    height, width, _ = walk.shape(source.tensor)
    rows, columns = _output_hw(node)
    even = height % rows == 0 and width % columns == 0
    walk.require(node, even, f"{height}x{width} to {rows}x{columns} has uneven windows")
    kernel = (height // rows, width // columns)
    _average(walk, node, source, kernel, kernel, (rows, columns))


def _mean(walk: _Capture, node: fx.Node) -> None:
    x, dims, keep = _arguments(node, 3)
    source = walk.value(node, x)
    spatial = not source.flat and sorted(d % 4 for d in dims or ()) == [2, 3]
    walk.require(node, spatial, f"mean over dimensions {dims}")
    height, width, _ = walk.shape(source.tensor)
    _average(walk, node, source, (height, width), (height, width), (1, 1), flat=not keep)


def _average(walk, node, source: _Value, kernel, stride, hw, flat: bool = False) -> None:
    if kernel == (1, 1) and stride == (1, 1):
        walk.alias(node, _Value(source.tensor, flat or source.flat))
        return
    shape = (*hw, walk.shape(source.tensor)[2])
    layer = FloatLayer("", Op.AVGPOOL, (source.tensor,), shape, kernel, stride)
    walk.emit(node, layer, flat)


def _max_pool(walk: _Capture, node: fx.Node) -> None:
    x, kernel, stride, padding, dilation = _arguments(node, 5)
    walk.require(node, _pair(dilation) == (1, 1), f"dilation {dilation}")
    source = walk.value(node, x)
    kernel = _pair(kernel)
    stride = _pair(stride) if stride else kernel
    top, left = _pair(padding)
    height, width, channels = walk.shape(source.tensor)
    rows, columns = _output_hw(node)
    # With ceil_mode the last windows reach further than the padding asked for.
    bottom = max((rows - 1) * stride[0] + kernel[0] - height - top, 0)
    right = max((columns - 1) * stride[1] + kernel[1] - width - left, 0)
    walk.emit(
        node,
        FloatLayer(
            "",
            Op.MAXPOOL,
            (source.tensor,),
            (rows, columns, channels),
            kernel,
            stride,
            (top, left, bottom, right),
        ),
    )


def _reshape(walk: _Capture, node: fx.Node) -> None:
    source = walk.value(node, node.args[0])
    shape = tuple(node.meta["val"].shape)
    features = math.prod(walk.shape(source.tensor))
    walk.require(node, shape == (1, features), f"reshape to {shape}; only to (1, features)")
    walk.alias(node, _Value(source.tensor, flat=True))


def _dropout(walk: _Capture, node: fx.Node) -> None:
    walk.require(node, node.args[2] is False, "training mode; call .eval()")
    _identity(walk, node)


def _identity(walk: _Capture, node: fx.Node) -> None:
    walk.alias(node, walk.value(node, node.args[0]))


_HANDLERS: dict[str, Callable[[_Capture, fx.Node], None]] = {
    "conv2d": _conv,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "add": _add,
    "relu": _activation(0.0, math.inf),
    "relu6": _activation(0.0, 6.0),
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_avg_pool,
    "mean": _mean,
    "max_pool2d": _max_pool,
    "flatten": _reshape,
    "view": _reshape,
    "reshape": _reshape,
    "dropout": _dropout,
    "contiguous": _identity,
    "clone": _identity,
    "detach": _identity,
    "alias": _identity,
}
