"""Networks whose times others have published for these chips, with random parameters.

Shapes only: time hardly depends on weights, which the publishers do not give in our format.
MLPerf Tiny's four are those of its reference models (mlcommons/tiny, closed division). Rectified
layers have unsigned outputs here, and every multiplication is a layer's own, as everywhere in the
bench; sizes of padding follow TensorFlow's "same".
"""

from __future__ import annotations

import math

import numpy as np

from hil.core.network import Cut, Layer, Network, Op, Tensor

Pair = tuple[int, int]
WEIGHT_SPREAD, ACTIVATION_SPREAD, OUTPUT_SPREAD = 73.0, 90.0, 60.0  # standard deviations, about
RECTIFIED, ANY = (0, 255), (-128, 127)


class Builder:
    """Appends layers to the last tensor (or to tensor ``source``) and keeps their numbers."""

    def __init__(self, shape: tuple[int, int, int], seed: int = 0) -> None:
        self.tensors = [Tensor(shape, 1 / 64, True)]
        self.layers: list[Layer] = []
        self._rng = np.random.default_rng(seed)

    @property
    def last(self) -> int:
        """Number of the newest tensor."""
        return len(self.layers)

    def conv(
        self,
        channels: int,
        kernel: Pair = (3, 3),
        stride: int = 1,
        rectified: bool = True,
        source: int | None = None,
    ) -> Builder:
        """A convolution with "same" padding; a pointwise one for a 1x1 kernel."""
        op = Op.POINTWISE if kernel == (1, 1) else Op.CONV
        cin = self.tensors[self.last if source is None else source].shape[2]
        return self._window(
            op, channels, (channels, *kernel, cin), kernel, stride, rectified, source
        )

    def depthwise(self, stride: int = 1) -> Builder:
        channels = self.tensors[-1].shape[2]
        shape = (channels, 3, 3)
        return self._window(Op.DEPTHWISE, channels, shape, (3, 3), stride, True, None)

    def linear(self, outputs: int, rectified: bool = False) -> Builder:
        features = math.prod(self.tensors[-1].shape)
        parameters = self._parameters((outputs, features), features)
        return self._append(Op.LINEAR, (1, 1, outputs), (self.last,), rectified, **parameters)

    def add(self, left: int, right: int) -> Builder:
        """The sum of two tensors, rectified."""
        halves = {"multiplier": np.array([2**20] * 2, np.int32), "shift": np.array([21], np.uint8)}
        shape = self.tensors[left].shape
        return self._append(Op.ADD, shape, (left, right), True, **halves)

    def average(self) -> Builder:
        """The mean of each channel."""
        height, width, channels = self.tensors[-1].shape
        factors = _factor(1 / (height * width), 1)
        kernel = (height, width)
        return self._append(
            Op.AVGPOOL,
            (1, 1, channels),
            (self.last,),
            True,
            kernel=kernel,
            stride=kernel,
            **factors,
        )

    def network(self, name: str) -> Network:
        cuts = (Cut("input", 0), Cut("all", len(self.layers)))
        return Network(name, tuple(self.tensors), tuple(self.layers), cuts)

    def _window(
        self,
        op: Op,
        channels: int,
        weight_shape: tuple[int, ...],
        kernel: Pair,
        stride: int,
        rectified: bool,
        source: int | None,
    ) -> Builder:
        source = self.last if source is None else source
        height, width, _ = self.tensors[source].shape
        rows, columns = -(-height // stride), -(-width // stride)
        tall = max((rows - 1) * stride + kernel[0] - height, 0)
        wide = max((columns - 1) * stride + kernel[1] - width, 0)
        pad = (tall // 2, wide // 2, tall - tall // 2, wide - wide // 2)
        parameters = self._parameters(weight_shape, math.prod(weight_shape[1:]))
        return self._append(
            op,
            (rows, columns, channels),
            (source,),
            rectified,
            kernel=kernel,
            stride=(stride, stride),
            pad=pad,
            **parameters,
        )

    def _parameters(self, shape: tuple[int, ...], fan_in: int) -> dict[str, np.ndarray]:
        spread = math.sqrt(fan_in) * WEIGHT_SPREAD * ACTIVATION_SPREAD
        return {
            "weight": self._rng.integers(-127, 128, shape).astype(np.int8),
            "bias": self._rng.integers(-2000, 2000, shape[0]).astype(np.int32),
            **_factor(OUTPUT_SPREAD / spread, shape[0]),
        }

    def _append(self, op, shape, inputs, rectified: bool, **fields) -> Builder:  # type: ignore[no-untyped-def]
        clamp = RECTIFIED if rectified else ANY
        self.layers.append(Layer(f"{op.value}{self.last}", op, inputs, clamp=clamp, **fields))
        self.tensors.append(Tensor(shape, 1 / 32, signed=not rectified))
        return self


def _factor(factor: float, channels: int) -> dict[str, np.ndarray]:
    """Multiplier and shift of ``factor`` below a half, for every channel."""
    shift = max(math.floor(-1 - math.log2(factor)), 0)
    multiplier = min(math.floor(factor * 2.0 ** (32 + shift)), 2**31 - 1)
    return {
        "multiplier": np.full(channels, multiplier, np.int32),
        "shift": np.full(channels, shift, np.uint8),
    }


def resnet8() -> Network:
    """MLPerf Tiny's image classification: CIFAR-10, three stages of two convolutions."""
    net = Builder((32, 32, 3)).conv(16)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        entry = net.last
        body = net.conv(channels, stride=stride).conv(channels, rectified=False).last
        if stride > 1:
            entry = net.conv(channels, (1, 1), stride, rectified=False, source=entry).last
        net.add(entry, body)
    return net.average().linear(10).network("resnet8")


def ds_cnn() -> Network:
    """MLPerf Tiny's keyword spotting: 49 frames of ten coefficients, four separable blocks."""
    net = Builder((49, 10, 1)).conv(64, (10, 4), 2)
    for _ in range(4):
        net.depthwise().conv(64, (1, 1))
    return net.average().linear(12).network("ds_cnn")


def autoencoder() -> Network:
    """MLPerf Tiny's anomaly detection: ten linear layers."""
    net = Builder((1, 1, 640))
    for outputs in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        net.linear(outputs, rectified=True)
    return net.linear(640).network("autoencoder")


# Pointwise channels and stride of the depthwise layer before, at width 1.
_MOBILENET_V1 = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet_v1(size: int, width: float, classes: int | None) -> Network:
    """MobileNetV1 on RGB images of ``size``; without its last layer where ``classes`` is None.

    At 96 and a quarter, with two classes, it is MLPerf Tiny's visual wake words.
    """
    net = Builder((size, size, 3)).conv(int(32 * width), stride=2)
    for channels, stride in _MOBILENET_V1:
        net.depthwise(stride).conv(int(channels * width), (1, 1))
    net.average()
    if classes is not None:
        net.linear(classes)
    return net.network(f"mobilenet_v1_{width:g}_{size}")


def mobilenet_v1_parts() -> list[Network]:
    """MobileNetV1 at 128 and width 1 up to its first layer of 512x512, in parts that fit L2."""
    parts = [
        Builder((128, 128, 3)).conv(32, stride=2).depthwise().conv(64, (1, 1)).depthwise(2),
        Builder((32, 32, 64)).conv(128, (1, 1)).depthwise().conv(128, (1, 1)).depthwise(2),
        Builder((16, 16, 128)).conv(256, (1, 1)).depthwise().conv(256, (1, 1)).depthwise(2),
        Builder((8, 8, 256)).conv(512, (1, 1)).depthwise(),
        Builder((8, 8, 512)).conv(512, (1, 1)),
    ]
    return [part.network(f"mobilenet_v1_part{number}") for number, part in enumerate(parts, 1)]
