"""Upper bounds for the machine code of a generated layer.

Found by compiling some 3,700 random layers with GCC 12 and zig 0.17, kernels of 1x1 to 11x11
among them: what the templates repeat is counted, the rest is the largest seen and about a tenth.
clang unrolls more than GCC and sets nearly all of them.
"""

from __future__ import annotations

UNIT_BYTES = 64  # DOT_UNIT of kernels.h: 16 instructions
PRODUCT_BYTES = 8  # a tap's load and SMLAD
WORD_BYTES = 4  # the load of a plane's word
BLOCK_BYTES = 192  # around the units of a 2 x 2 block: first loads, requantisation, stores
# clang unrolls the walk over the blocks of a single short tile: no block after the fourth, and
# none at all from 12 pixels on, has been seen to get its own code.
MOST_COPIED_BLOCKS = 4
SHORT_PIXELS = 12

POINTWISE_BYTES = 1216
CONV2D_BYTES = 1984
DEPTHWISE_BYTES = 1408
LINEAR_BYTES = 1024
ADD_BYTES = 768
AVGPOOL_BYTES = 1536
MAXPOOL_BYTES = 1792


def blocks_bytes(pixels: int, tile: int, units: int, unrolled: bool) -> int:
    """Code of the 2 x 2 blocks of a matrix product, as often as it may be there."""
    short = pixels <= tile and pixels < SHORT_PIXELS
    copies = min(-(-pixels // 2), MOST_COPIED_BLOCKS) if short else 1
    return copies * (BLOCK_BYTES + UNIT_BYTES * (units if unrolled else 1))


def taps_bytes(kernel_rows: int, products: int, words: int) -> int:
    """Code of a depthwise layer's products, should all kernel rows be unrolled."""
    return kernel_rows * (PRODUCT_BYTES * products + WORD_BYTES * words)
