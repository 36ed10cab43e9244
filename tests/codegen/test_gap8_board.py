"""What the GAP8 firmware answers about itself: identity, counter, marker, restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from device import encode
from overhead import check_overhead
from test_gap8_kernels import boot, wrong_layers

from hil.core import console
from hil.core.console import Message, RunFlag
from hil.core.elf import load_segments
from hil.core.network import Op
from hil.nn.random_layers import random_input, random_network
from hil.sim.socs.gap8 import access, layout

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


def test_empty_windows_tell_what_marker_and_counter_add(device) -> None:
    device.load_input(random_input(NETWORK, 1))
    check_overhead(device, 1, CLOCK_HZ)


def test_restart_gives_the_same_board_again(device) -> None:
    device.ask(Message.RESET)
    device.run_until_waiting()
    hello = device.take()
    assert hello.message == Message.HELLO
    assert identity(device)[4] == 1  # restarted on request
    assert console.FAULT.unpack(device.ask(Message.READ_FAULT))[0] == 0
    assert wrong_layers(device, NETWORK, random_input(NETWORK, 3)) == []


def jump(start: int, target: int) -> int:
    """``jal x0`` from one address to another (RISC-V manual, J-type)."""
    offset = target - start
    fields = ((offset >> 20 & 1) << 31) | ((offset >> 1 & 0x3FF) << 21)
    return fields | ((offset >> 11 & 1) << 20) | (offset & 0xFF000) | 0x6F


@pytest.mark.parametrize(
    ("function", "hart"), [("layer_00_under_test", 0), ("board_offload", 0x400)]
)
def test_fault_is_kept_over_the_restart(function: str, hart: int, tmp_path: Path) -> None:
    """A jump into the vector table stands for an exception, which the simulator does not take."""
    device, _ = boot(NETWORK, tmp_path)
    symbols = load_segments(tmp_path / "firmware.elf").symbols
    with patched(device, symbols[function], jump(symbols[function], symbols["vectors"])):
        device.chip.uart_feed(encode(Message.RUN, console.RUN.pack(0, 1, 0)))
        device.chip.run(0.05)
    device.run_until_waiting()
    assert device.take().message == Message.HELLO
    assert identity(device)[4] == 2  # restarted after a fault
    present, _, _, _, *words = console.FAULT.unpack(device.ask(Message.READ_FAULT))
    assert (present, words[0]) == (1, hart)
    assert wrong_layers(device, NETWORK, random_input(NETWORK, 4)) == []


@contextmanager
def patched(device, address: int, instruction: int) -> Iterator[None]:
    """Another instruction at ``address`` in L2 for a while."""
    state = device.chip._state
    first = 4 * access.memory_word(layout.FC, address & ~3, 8) + address % 4
    octets = state.mem.view(np.uint8)[first : first + 4]
    kept = octets.copy()
    octets[:] = np.frombuffer(instruction.to_bytes(4, "little"), np.uint8)
    state.code[:] = 0  # forget decoded instructions
    yield
    octets[:] = kept
    state.code[:] = 0
