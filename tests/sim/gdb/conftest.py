"""Chips with programs encoded by hand, behind a stub that is spoken to in packets."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from hil.sim.gdb.stub import Stub
from hil.sim.powered_chip import PoweredChip
from hil.sim.socs.gap8.chip import Gap8
from hil.sim.socs.stm32f7 import Stm32F746

# movs r0,#1; adds r0,#1; cmp r0,#2; ite eq; moveq r1,#5; movne r1,#6; adds r0,#1; b .
THUMB = bytes.fromhex("0120 0130 0228 0cbf 0521 0621 0130 fee7")
CODE = 0x08000008
# addi a0,zero,5; 1: addi a0,a0,-1; bnez a0,1b; j .
RISCV = [0x00500513, 0xFFF50513, 0xFE051EE3, 0x0000006F]
L2 = 0x1C000000


class Client:
    """Speaks packets with sums of its own; lets the chip run where the protocol waits."""

    def __init__(self, chip: PoweredChip) -> None:
        self.chip = chip
        self.stub = Stub(chip)
        self.stub.attach()

    def raw(self, data: bytes) -> bytes:
        return self.stub.feed(data)

    def ask(self, data: bytes) -> bytes:
        """The answer's data; a continue runs the chip until it stops."""
        answer = self.raw(b"$" + data + b"#%02x" % (sum(data) % 256))
        assert answer.startswith(b"+")
        answer = answer[1:]
        while not answer and self.stub.running:
            self.chip.run(1e-5)
            answer = self.stub.poll()
        return answer.rpartition(b"$")[2].partition(b"#")[0]

    def pc(self, number: int) -> int:
        return struct.unpack("<I", bytes.fromhex(self.ask(b"p%x" % number).decode()))[0]


@pytest.fixture
def arm() -> Client:
    chip = Stm32F746()
    chip.debugger.write_flash(0x08000000, struct.pack("<II", 0x20001000, CODE | 1) + THUMB)
    powered = PoweredChip(chip)
    powered.loaded = True
    powered.reset()
    return Client(powered)


@pytest.fixture(scope="session")
def gap8_chip() -> Gap8:
    """Made once: the engine is compiled or loaded at the first."""
    return Gap8()


@pytest.fixture
def riscv(gap8_chip: Gap8) -> Iterator[Client]:
    gap8_chip.reset()  # its time begins with its supply's
    powered = PoweredChip(gap8_chip)
    powered.reset()
    client = Client(powered)
    program = struct.pack("<4I", *RISCV).hex().encode()
    assert client.ask(b"M%x,10:" % L2 + program) == b"OK"
    yield client
    client.stub.detach()  # the next test's chip is this one


@pytest.fixture(params=["arm", "riscv"])
def client(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue(request.param)
