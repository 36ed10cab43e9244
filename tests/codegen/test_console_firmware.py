"""The firmware's end of the console: every message, and what a damaged or wrong one is told."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from chains import Step, chain
from device import Device, Refused, encode
from overhead import check_overhead

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core import console
from hil.core.console import ErrorCode, Message, RunFlag
from hil.core.network import Op
from hil.nn import reference
from hil.nn.random_layers import random_input
from hil.sim.chips import make_chip
from hil.sim.socs.stm32f7 import Stm32F746

NETWORK = chain(
    "tiny",
    (6, 5, 3),
    True,
    [Step(Op.POINTWISE, 8), Step(Op.MAXPOOL, 0, (2, 2), (2, 2)), Step(Op.ADD)],
)
IMAGE = random_input(NETWORK, 1)
EXPECTED = reference.run(NETWORK, IMAGE)
BOARD = boards.load_board("stm32f746")


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory):
    return build(generate(NETWORK, BOARD), BOARD, tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="module")
def device(firmware) -> Device:
    """One booted board for all tests; HELLO has been taken."""
    chip = Stm32F746()
    chip.load_elf(firmware.elf)
    device = Device(chip)
    device.run_until_waiting()
    assert device.take().message == Message.HELLO
    device.load_input(IMAGE)
    return device


def test_hello_and_identify_say_who_is_there(firmware) -> None:
    chip = Stm32F746(unique_id=b"twelve bytes")
    chip.load_elf(firmware.elf)
    device = Device(chip)
    device.run_until_waiting()
    hello = device.take()
    assert (hello.message, hello.sequence) == (Message.HELLO, 0)
    protocol, layers, compute, control, cause, chip_id, build_id, board, network = (
        console.IDENTITY.unpack(hello.payload)
    )
    assert (protocol, layers) == (console.PROTOCOL_VERSION, len(NETWORK.layers))
    assert (compute, control) == (216_000_000, 216_000_000)
    assert cause & (1 << 27) and not cause & 1  # power-on reset; the clock runs from HSE
    assert chip_id[:12] == b"twelve bytes" and chip_id[12:14] == b"\x49\x04"  # DEV_ID 0x449
    assert build_id.hex() == firmware.build_id
    assert board.rstrip(b"\0") == b"stm32f746" and network.rstrip(b"\0") == b"tiny"
    assert device.ask(Message.IDENTIFY) == hello.payload


def test_self_test_agrees_with_the_timer(device: Device) -> None:
    counter, timer, iterations = console.SELF_TEST.unpack(device.ask(Message.SELF_TEST))
    assert iterations > 1000 and counter > iterations
    assert abs(counter - timer) < 0.001 * counter


def test_outputs_digests_and_tensors(device: Device) -> None:
    _, rows = device.run(flags=RunFlag.DIGEST)
    assert device.digests() == [zlib.crc32(t.tobytes()) for t in EXPECTED[1:]]
    for number in (0, len(NETWORK.layers)):
        assert np.array_equal(device.tensor(NETWORK, number), EXPECTED[number])
    assert len(rows) == len(NETWORK.layers)
    totals, probed = rows[:, 0], rows[:, 1] + rows[:, 2]
    assert (totals >= probed).all() and (probed > 0).all()


def test_total_only_leaves_the_table_out_and_costs_less(device: Device) -> None:
    timed, _ = device.run(iterations=3, warmup=1)
    total, rows = device.run(iterations=3, flags=RunFlag.TOTAL_ONLY)
    assert len(rows) == 0
    assert 0.95 * timed < total <= timed


def test_partition_runs_only_its_layers(device: Device) -> None:
    device.set_partition(len(NETWORK.layers))
    device.run()
    assert device.set_partition(1) == NETWORK.tensors[1].size_bytes
    _, rows = device.run(flags=RunFlag.DIGEST)
    assert len(rows) == 1
    assert device.digests() == [zlib.crc32(EXPECTED[1].tobytes())]
    assert np.array_equal(device.tensor(NETWORK, 1), EXPECTED[1])
    device.set_partition(len(NETWORK.layers))


def test_marker_covers_all_iterations(device: Device) -> None:
    device.chip.marker_drain()
    cycles, _ = device.run(iterations=5, warmup=2, flags=RunFlag.MARKER)
    rise, fall = device.chip.marker_drain()
    assert rise.level and not fall.level
    assert (fall.time_s - rise.time_s) * 216e6 == pytest.approx(cycles, rel=0.01)


def test_repeated_layers_mark_a_window_each(device: Device) -> None:
    device.chip.marker_drain()
    repeats = np.array([20, 0, 40], "<u2")
    ask = console.REPEAT_LAYERS.pack(1, 50) + repeats.tobytes()
    windows = np.frombuffer(device.ask(Message.REPEAT_LAYERS, ask), "<u8")
    edges = device.chip.marker_drain()
    assert [edge.level for edge in edges] == [True, False, True, False]
    assert windows[1] == 0
    for window, rise, fall in zip(windows[[0, 2]], edges[::2], edges[1::2], strict=True):
        assert (fall.time_s - rise.time_s) * 216e6 == pytest.approx(int(window), abs=100)
    assert edges[2].time_s - edges[1].time_s >= 50e-6
    last = len(NETWORK.layers)
    assert np.array_equal(device.tensor(NETWORK, last), EXPECTED[last])


def test_empty_windows_tell_what_marker_and_counter_add(device: Device) -> None:
    check_overhead(device, len(NETWORK.layers), 216e6)


@pytest.mark.slow
def test_the_same_on_the_larger_chip(tmp_path) -> None:
    board = boards.load_board("stm32f767")
    chip = make_chip("stm32f767", "")
    chip.load_elf(build(generate(NETWORK, board), board, tmp_path).elf)
    device = Device(chip)
    device.run_until_waiting()
    device.take()
    device.load_input(IMAGE)
    check_overhead(device, len(NETWORK.layers), board.compute_clock_hz)


def test_input_may_come_in_pieces(device: Device) -> None:
    other = random_input(NETWORK, 9)
    data = other.tobytes()
    for at in (40, 0):
        end = at + 50 if at else 40
        device.ask(Message.LOAD_INPUT, console.LOAD_INPUT.pack(at) + data[at:end])
    assert np.array_equal(device.tensor(NETWORK, 0), other)
    device.load_input(IMAGE)


@pytest.mark.parametrize(
    ("message", "payload", "code", "detail"),
    [
        (0x33, b"", ErrorCode.UNKNOWN_MESSAGE, 0x33),
        (Message.HELLO, b"", ErrorCode.UNKNOWN_MESSAGE, 0),
        (Message.IDENTIFY, b"x", ErrorCode.BAD_LENGTH, 1),
        (Message.LOAD_INPUT, b"abc", ErrorCode.BAD_LENGTH, 3),
        (Message.LOAD_INPUT, console.LOAD_INPUT.pack(89) + b"ab", ErrorCode.BAD_ARGUMENT, 89),
        (Message.LOAD_INPUT, console.LOAD_INPUT.pack(2**32 - 1), ErrorCode.BAD_ARGUMENT, 2**32 - 1),
        (Message.SET_PARTITION, console.SET_PARTITION.pack(0), ErrorCode.BAD_ARGUMENT, 0),
        (Message.SET_PARTITION, console.SET_PARTITION.pack(6), ErrorCode.BAD_ARGUMENT, 6),
        (Message.RUN, console.RUN.pack(0, 0, 0), ErrorCode.BAD_ARGUMENT, 0),
        (Message.RUN, console.RUN.pack(0, 1, 0x80), ErrorCode.BAD_ARGUMENT, 0x80),
        (Message.READ_TENSOR, console.READ_TENSOR.pack(9, 0, 1), ErrorCode.BAD_ARGUMENT, 9),
        (Message.READ_TENSOR, console.READ_TENSOR.pack(0, 80, 11), ErrorCode.BAD_ARGUMENT, 80),
        (Message.READ_TENSOR, console.READ_TENSOR.pack(0, 0, 2049), ErrorCode.BAD_ARGUMENT, 2049),
        (Message.EMPTY_WINDOWS, console.EMPTY_WINDOWS.pack(0, 9), ErrorCode.BAD_ARGUMENT, 0),
        (Message.EMPTY_WINDOWS, console.EMPTY_WINDOWS.pack(129, 9), ErrorCode.BAD_ARGUMENT, 129),
        (Message.EMPTY_WINDOWS, b"", ErrorCode.BAD_LENGTH, 0),
        (Message.REPEAT_LAYERS, console.REPEAT_LAYERS.pack(4, 0), ErrorCode.BAD_ARGUMENT, 4),
        (Message.REPEAT_LAYERS, console.REPEAT_LAYERS.pack(0, 0) + b"x", ErrorCode.BAD_ARGUMENT, 1),
    ],
)
def test_wrong_requests_are_told_why(device: Device, message, payload, code, detail) -> None:
    if message == Message.REPEAT_LAYERS and detail == 4:
        payload += b"\1\0" * len(NETWORK.layers)
    with pytest.raises(Refused) as refusal:
        device.ask(message, payload)
    assert (refusal.value.code, refusal.value.detail) == (code, detail)


def test_digests_before_any_run_are_refused(firmware) -> None:
    chip = Stm32F746()
    chip.load_elf(firmware.elf)
    device = Device(chip)
    device.run_until_waiting()
    device.take()
    with pytest.raises(Refused):
        device.digests()


def test_damaged_frame_is_refused_and_the_next_one_answered(device: Device) -> None:
    frame = bytearray(encode(Message.IDENTIFY, sequence=7))
    frame[-1] ^= 0x10
    device.send_raw(bytes(frame))
    answer = device.take()
    assert (answer.message, answer.sequence) == (Message.ERROR, 7)
    assert console.ERROR.unpack(answer.payload)[0] == ErrorCode.BAD_CRC
    assert device.ask(Message.IDENTIFY)


def test_impossible_length_is_refused_at_once(device: Device) -> None:
    device.send_raw(b"\xa5\x5a\x01\x05\xff\xff")
    answer = device.take()
    assert console.ERROR.unpack(answer.payload) == (ErrorCode.BAD_LENGTH, 0xFFFF)
    assert device.ask(Message.IDENTIFY)


def test_noise_before_a_frame_is_skipped(device: Device) -> None:
    device.send_raw(b"\x00\xa5\xff\x5a\xa5\xa5" + encode(Message.READ_FAULT)[1:])
    answer = device.take()
    assert answer.message == Message.READ_FAULT | console.RESPONSE
    assert console.FAULT.unpack(answer.payload)[0] == 0  # no fault has happened


def test_answer_leaves_a_byte_time_after_the_request(device: Device) -> None:
    """With 10 us a byte at 1 Mbaud: request and answer on the wire, and a byte time between."""
    device.chip.uart_drain()
    start_s = device.chip.time_s
    frame = encode(Message.READ_FAULT)
    device.send_raw(frame)
    answer_bytes = len(device.received)
    device.take()
    spent_s = device.chip.time_s - start_s
    assert spent_s >= (len(frame) + 1 + answer_bytes) * 10e-6


def test_reset_answers_then_says_hello_again(device: Device) -> None:
    device.send_raw(encode(Message.RESET, sequence=3))
    assert device.take().message == Message.RESET | console.RESPONSE
    hello = device.take()
    assert hello.message == Message.HELLO
    assert console.IDENTITY.unpack(hello.payload)[4] & (1 << 28)  # RCC_CSR.SFTRSTF
