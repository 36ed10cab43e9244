"""Depthwise convolution: four channels at a time are unzipped into planes of halfwords.

In a plane two neighbouring pixels share a word, so one SMLAD does two taps of a kernel row.
Outputs at an odd pixel need the taps one halfword later; both packings are constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codegen.backend import Constant, LayerPlan
from codegen.names import layer_function
from codegen.stm32f7.code_size import DEPTHWISE_BYTES, taps_bytes
from codegen.stm32f7.matmul import kind_of
from codegen.stm32f7.requant import clamp_call, requant_table, weight_of
from hil.core.network import Network

OUTPUTS = 4  # neighbouring outputs of one step; template sums have their number
CHANNELS_A_GROUP = 4
PLANES_BYTES = 24 * 1024  # of the 64 KB DTCM; the rest is for stack, state and activations


@dataclass(frozen=True)
class Product:
    """``sum<output> += (word) * tap[<tap>]``, two products."""

    output: int
    tap: int


@dataclass(frozen=True)
class Step:
    """One word of a plane row, and everything it is multiplied with."""

    word: int
    products: tuple[Product, ...]


def pack_taps(weight: np.ndarray, stride: int) -> np.ndarray:
    """Taps (channels, rows, kernel width) as words (channels, rows, words): first the packing for
    outputs at even pixels, then, if the stride makes any, the one for odd pixels."""
    width = weight.shape[2]
    packings = [_pair_up(weight, width, 0)]
    if stride % 2:
        packings.append(_pair_up(weight, width, 1))
    return np.concatenate(packings, axis=2)


def _pair_up(weight: np.ndarray, width: int, lead: int) -> np.ndarray:
    length = -(-(width + lead) // 2) * 2
    halves = np.zeros((*weight.shape[:2], length), np.int64)
    halves[:, :, lead : lead + width] = weight
    words = (halves[:, :, 0::2] & 0xFFFF) | ((halves[:, :, 1::2] & 0xFFFF) << 16)
    return words.astype(np.uint32)


def plan_steps(kernel_width: int, stride: int) -> tuple[Step, ...]:
    """Which word of a plane row meets which tap for which of the four outputs."""
    even_words = -(-kernel_width // 2)
    odd_words = -(-(kernel_width + 1) // 2)
    at_word: dict[int, list[Product]] = {}
    for output in range(OUTPUTS):
        start = output * stride
        first_tap, words = (even_words, odd_words) if start % 2 else (0, even_words)
        for word in range(words):
            product = Product(output, first_tap + word)
            at_word.setdefault(start // 2 + word, []).append(product)
    return tuple(Step(word, tuple(at_word[word])) for word in sorted(at_word))


def plan_depthwise(network: Network, index: int) -> LayerPlan:
    """Tiles of output rows whose input rows fit the planes; at least one row."""
    layer = network.layers[index]
    in_height, in_width, channels = network.tensors[layer.inputs[0]].shape
    out_height, out_width, _ = network.tensors[index + 1].shape
    kernel_height, kernel_width = layer.kernel
    steps = plan_steps(kernel_width, layer.stride[1])
    row_words = _row_words(out_width, layer.stride[1], steps)
    tile_rows = _tile_rows(out_height, kernel_height, layer.stride[0], row_words)
    plane_words = ((tile_rows - 1) * layer.stride[0] + kernel_height) * row_words
    body_first, body_end = _body(in_width, layer.pad[1], row_words)
    taps = pack_taps(weight_of(layer), layer.stride[1])
    function = layer_function(network, index)
    context = {
        "in_height": in_height,
        "in_width": in_width,
        "channels": channels,
        "kernel_height": kernel_height,
        "stride_y": layer.stride[0],
        "stride_x": layer.stride[1],
        "pad_top": layer.pad[0],
        "pad_left": layer.pad[1],
        "out_height": out_height,
        "out_width": out_width,
        "tile_rows": tile_rows,
        "row_words": row_words,
        "plane_words": plane_words,
        "body_first": body_first,
        "body_end": body_end,
        "steps": steps,
        "taps_row": taps.shape[2],
        "taps_channel": taps.shape[1] * taps.shape[2],
        "ragged": out_width % OUTPUTS != 0,
        "kind": kind_of(network.tensors[layer.inputs[0]].signed),
        **clamp_call(*layer.clamp),
    }
    comment = f"{channels} channels x {kernel_height} rows x {taps.shape[2]} pairs of taps"
    constants = (
        Constant(f"{function}_taps", "uint32_t", taps.ravel(), comment),
        requant_table(layer, channels, function),
    )
    products = sum(len(step.products) for step in steps)
    return LayerPlan(
        "stm32f7/depthwise.c.j2",
        function,
        context,
        constants,
        scratch_bytes=CHANNELS_A_GROUP * plane_words * 4,
        code_bytes=DEPTHWISE_BYTES + taps_bytes(kernel_height, products, len(steps)),
    )


def _row_words(out_width: int, stride: int, steps: tuple[Step, ...]) -> int:
    last_step_x = (out_width - 1) // OUTPUTS * OUTPUTS
    return last_step_x * stride // 2 + steps[-1].word + 1


def _tile_rows(out_height: int, kernel_height: int, stride: int, row_words: int) -> int:
    row_bytes = CHANNELS_A_GROUP * row_words * 4
    rows = (PLANES_BYTES // row_bytes - kernel_height) // stride + 1
    return max(1, min(out_height, rows))


def _body(in_width: int, pad_left: int, row_words: int) -> tuple[int, int]:
    """Words [first, end) of a plane row whose two pixels both lie in the image."""
    first = min(-(-pad_left // 2), row_words)
    end = min((in_width + pad_left) // 2, row_words)
    return first, max(first, end)
