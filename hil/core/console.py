"""The console protocol, version 2: frame layout, message numbers, payload structures.

The one source for both ends: the C header is rendered from the names below
(docs/console-protocol.md explains them). All integers are little-endian.

Frame: SYNC (2 bytes), type u8, sequence u8, length u16, payload, CRC-32 u32.
The CRC (IEEE 802.3, as zlib) covers type to payload. The host asks, the board answers with
``type | RESPONSE`` and the same sequence, or with ERROR. The board sends HELLO by itself
once its receiver is armed after reset.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

# 1: first; 2: EMPTY_WINDOWS, without which the marker's overhead stays in every energy.
PROTOCOL_VERSION = 2
SYNC = b"\xa5\x5a"
HEADER = struct.Struct("<BBH")  # type, sequence, length
CRC = struct.Struct("<I")
MAX_PAYLOAD = 2048
RESPONSE = 0x80


class Message(IntEnum):
    """Request numbers; HELLO and ERROR come from the board only."""

    HELLO = 0x00
    IDENTIFY = 0x01
    SELF_TEST = 0x02
    LOAD_INPUT = 0x03
    SET_PARTITION = 0x04
    RUN = 0x05
    READ_TENSOR = 0x06
    READ_DIGESTS = 0x07
    REPEAT_LAYERS = 0x08
    READ_FAULT = 0x09
    RESET = 0x0A
    EMPTY_WINDOWS = 0x0B
    ERROR = 0x7F


class RunFlag(IntFlag):
    """Options of RUN."""

    MARKER = 1  # the marker pin is high from the first to the last timed iteration
    DIGEST = 2  # CRC-32 of every layer's output, taken outside the timed spans
    TOTAL_ONLY = 4  # no per-layer counter reads: the whole-network time undisturbed


class ErrorCode(IntEnum):
    """First byte of an ERROR payload; a u32 detail follows."""

    BAD_CRC = 1
    UNKNOWN_MESSAGE = 2
    BAD_LENGTH = 3
    BAD_ARGUMENT = 4
    FAULT = 5


# HELLO and IDENTIFY response: protocol, layers in the image, compute clock Hz, control clock Hz,
# reset cause register, chip id, build id, board name, network name (zero-padded ASCII).
IDENTITY = struct.Struct("<HHIII16s32s16s32s")
# SELF_TEST response: cycles by the cycle counter, the same span by an independent timer scaled
# to compute-clock cycles, loop iterations run.
SELF_TEST = struct.Struct("<III")
# LOAD_INPUT request: offset, then bytes. Response: empty.
LOAD_INPUT = struct.Struct("<I")
# SET_PARTITION request: layers to run (1..layers in the image). Response: output tensor's bytes.
SET_PARTITION = struct.Struct("<H")
PARTITION_SET = struct.Struct("<I")
# RUN request: warm-up iterations, timed iterations (>= 1), flags.
RUN = struct.Struct("<HHB")
# RUN response: timed iterations, cycles of all of them together (u64), then for every layer of
# the partition LAYER_CYCLES of the last iteration (absent with TOTAL_ONLY).
RUN_DONE = struct.Struct("<HQ")
LAYER_CYCLES = struct.Struct("<III")  # total, compute, copy
# READ_TENSOR request: tensor number (0 input, i + 1 output of layer i), offset, length.
READ_TENSOR = struct.Struct("<HIH")
# READ_DIGESTS response: one u32 CRC-32 a layer of the last RUN with DIGEST.
# REPEAT_LAYERS request: first layer, gap between windows in microseconds, then one u16 repeat
# count a layer. Layers 0..first-1 run once, unmarked; then each listed layer runs its count of
# times with the marker high (0: runs once, unmarked). Response: one u64 a listed layer, the
# cycles of its window.
REPEAT_LAYERS = struct.Struct("<HI")
# EMPTY_WINDOWS request: windows (1..MAX_EMPTY_WINDOWS), gap before each and after the last in
# microseconds. Each is the window of one pass of a layer that does nothing, then such a layer is
# timed as RUN does. Response: EMPTY_WINDOW for each.
EMPTY_WINDOWS = struct.Struct("<HI")
# Cycles between the looks at the counter before and behind the marker's rise, of the pass inside
# (what a window's count tells), around the marker's fall; and the layer's total as RUN tells it.
EMPTY_WINDOW = struct.Struct("<IIII")
# Few enough to share the memory of REPEAT_LAYERS on the board.
MAX_EMPTY_WINDOWS = 64
# READ_FAULT response: 1 if a record is present, cause register, pc, address, 4 board-specific
# words.
FAULT = struct.Struct("<B7I")
# ERROR: code, detail.
ERROR = struct.Struct("<BI")
