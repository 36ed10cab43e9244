"""What the GAP8 firmware answers about itself: identity, counter, marker, restart."""

from __future__ import annotations

import pytest
from test_gap8_kernels import boot, wrong_layers

from hil.core import console
from hil.core.console import Message, RunFlag
from hil.core.network import Op
from hil.nn.random_layers import random_input, random_network

CLOCK_HZ = 149_995_520
NETWORK = random_network(Op.POINTWISE, 9, 9, 16, 8)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory):
    return boot(NETWORK, tmp_path_factory.mktemp("gap8"))[0]


def identity(device) -> tuple:
    return console.IDENTITY.unpack(device.ask(Message.IDENTIFY))


def test_identity(device) -> None:
    protocol, layers, compute_hz, control_hz, cause, chip, _, board, network = identity(device)
    assert (protocol, layers) == (console.PROTOCOL_VERSION, 1)
    assert (compute_hz, control_hz, cause) == (CLOCK_HZ, CLOCK_HZ, 0)
    assert chip.rstrip(b"\0") == b"GAP8"
    assert board.rstrip(b"\0") == b"gap8"
    assert network.rstrip(b"\0").decode() == NETWORK.name


def test_cycle_counter_agrees_with_the_crystal(device) -> None:
    counted, reference, iterations = console.SELF_TEST.unpack(device.ask(Message.SELF_TEST))
    assert counted == pytest.approx(reference, rel=2e-3)
    assert reference == 64 * CLOCK_HZ // 32768
    assert iterations > 1000


def test_marker_is_high_for_the_counted_cycles(device) -> None:
    device.load_input(random_input(NETWORK, 1))
    device.chip.marker_drain()
    cycles, _ = device.run(iterations=20, flags=RunFlag.MARKER)
    rise, fall = device.chip.marker_drain()
    assert rise.level and not fall.level
    assert (fall.time_s - rise.time_s) * CLOCK_HZ == pytest.approx(cycles, rel=1e-2)


def test_restart_gives_the_same_board_again(device) -> None:
    device.ask(Message.RESET)
    device.run_until_waiting()
    hello = device.take()
    assert hello.message == Message.HELLO
    assert identity(device)[4] == 1  # restarted on request
    assert console.FAULT.unpack(device.ask(Message.READ_FAULT))[0] == 0
    assert wrong_layers(device, NETWORK, random_input(NETWORK, 3)) == []
