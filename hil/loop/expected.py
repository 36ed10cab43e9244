"""What a board must answer: CRC-32 of every tensor, by the integer reference."""

from __future__ import annotations

import zlib
from functools import cached_property

import numpy as np

from hil.core.errors import WrongOutputError
from hil.core.network import Network
from hil.nn.reference import quantise_input, run

# Images that go through the reference together; bounds its memory.
_BATCH = 8


class Expected:
    """Inputs and the digests of all layers' outputs for a set of uint8 images (N, H, W, 3)."""

    def __init__(self, network: Network, images: np.ndarray) -> None:
        self.network = network
        self.inputs = quantise_input(images)

    @cached_property
    def digests(self) -> np.ndarray:
        """uint32 (N, layers): CRC-32 of the output of each layer for each image."""
        rows: list[list[int]] = []
        for start in range(0, len(self.inputs), _BATCH):
            tensors = run(self.network, self.inputs[start : start + _BATCH])
            for i in range(len(tensors[0])):
                rows.append([zlib.crc32(tensor[i].tobytes()) for tensor in tensors[1:]])
        return np.array(rows, np.uint32)

    def check_digests(self, image: int, digests: tuple[int, ...], board: str) -> None:
        """WrongOutputError names the first layer whose output differs."""
        expected = self.digests[image, : len(digests)]
        wrong = np.flatnonzero(expected != np.array(digests, np.uint32))
        if len(wrong):
            first = int(wrong[0])
            raise WrongOutputError(
                f"{board}, image {image}: the output of layer {first} "
                f"({self.network.layers[first].name}) has CRC-32 0x{digests[first]:08x}, the "
                f"reference 0x{int(expected[first]):08x}; {len(wrong)} of {len(digests)} layers "
                "differ. No cost is recorded; read the tensor to see where"
            )

    def check_output(self, image: int, layers: int, output: bytes, board: str) -> None:
        """WrongOutputError when the output of the last of ``layers``, read back, differs."""
        expected = int(self.digests[image, layers - 1])
        if zlib.crc32(output) != expected:
            raise WrongOutputError(
                f"{board}, image {image}: the output of layer {layers - 1} "
                f"({self.network.layers[layers - 1].name}), read back after timing, has CRC-32 "
                f"0x{zlib.crc32(output):08x}, the reference 0x{expected:08x}; the trial is void"
            )
