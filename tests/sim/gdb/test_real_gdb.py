"""The stub under the real debugger: gdb-multiarch loads, breaks, steps, looks, flashes."""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
import threading

import pytest
from gap8_program import assemble
from xpulp_assembler import translate

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.elf import ElfImage, load_segments
from hil.core.network import Op
from hil.nn.random_layers import random_network
from hil.sim.gdb.server import serve_elf

GDB = shutil.which("gdb-multiarch")
pytestmark = pytest.mark.skipif(
    GDB is None, reason="gdb-multiarch is not installed (apt-get install it)"
)
LOOKS = {
    # command, what GDB must print
    "stm32f746": [
        ("x/1xw 0xe000ed00", "0x410fc271"),  # CPUID: Cortex-M7 r0p1
        ("p $d0", "= "),
        ("p/x $primask", "= 0x0"),
        ("info mem", "0x08020000 0x08040000 flash blocksize 0x20000"),
        ("x/1xw 0x60000000", "Cannot access memory"),
    ],
    "gap8": [
        ("info threads", "PE7 held"),
        ("p/x $mstatus", "= 0x1800"),
        ("x/1xw 0x30000000", "Cannot access memory"),
    ],
}


@pytest.fixture(scope="module", params=["stm32f746", "gap8"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ElfImage:
    """The shipped firmware with one small layer."""
    network = random_network(
        Op.POINTWISE, 12, 12, 8, 16, (1, 1), (1, 1), (0, 0, 0, 0), signed_in=True, seed=1
    )
    board = boards.load_board(request.param)
    firmware = build(generate(network, board), board, tmp_path_factory.mktemp("firmware"))
    return load_segments(firmware.elf)


# A loop of four turns, its last instruction at ``loop_end``; then a return from machine mode.
STEPS = """
fc_main:
    li a1, 0
    li t3, 4
    lp.setup x0, t3, 12
loop_start:
    addi a1, a1, 1
    nop
loop_end:
    nop
    la t0, returned
    csrw 0x341, t0
leave:
    mret
    li a1, 99
returned:
    la t0, word
    sw a1, 0(t0)
    li a0, 0
    j exit_program
pe_main: j pe_main
    .balign 4
word: .word 0
"""


def debug(image: ElfImage, board: str, commands: list[str]) -> tuple[str, bytes]:
    """What GDB printed for ``commands``, and the firmware's console."""
    ready: queue.Queue[int] = queue.Queue()
    console = bytearray()
    thread = threading.Thread(
        target=serve_elf, args=(image.path, board, 0, 60.0, console.extend, ready.put), daemon=True
    )
    thread.start()
    port = ready.get(timeout=250.0)  # the first start compiles the simulator
    script = [part for command in commands for part in ("-ex", command)]
    done = subprocess.run(
        [str(GDB), "-q", "-nx", "-batch", "-ex", f"target remote 127.0.0.1:{port}", *script,
         str(image.path)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200, check=False,
    )  # fmt: skip
    thread.join(30.0)
    assert not thread.is_alive()
    return done.stdout, bytes(console)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> ElfImage:
    return load_segments(assemble(tmp_path_factory.mktemp("steps"), translate(STEPS)))


def test_steps_at_a_loop_end_and_at_mret(steps: ElfImage) -> None:
    """One instruction each, as the chip goes: GDB does not know where these two lead."""
    said, _ = debug(
        steps,
        "gap8",
        [
            "break *loop_end",
            "continue",
            "delete",
            "stepi",
            'printf "looped %d, turn %d\\n", $pc == &loop_start, $a1',
            "stepi",
            'printf "next turn %d\\n", $a1',
            "tbreak *leave",
            "continue",
            "stepi",
            'printf "returned %d, turn %d\\n", $pc == &returned, $a1',
            "kill",
        ],
    )
    for expected in ("looped 1, turn 1", "next turn 2", "returned 1, turn 4"):
        assert expected in said, said


def test_devices_reasons_and_software_watchpoints(steps: ElfImage) -> None:
    said, _ = debug(
        steps,
        "gap8",
        [
            'printf "FC timer %x\\n", *(int *)0x1b200400',
            'printf "cluster timer %x\\n", *(int *)0x10200400',
            "set can-use-hw-watchpoints 0",
            "watch *(int *)&word",
            "continue",
            "delete",
            "kill",
        ],
    )
    assert "FC timer 0" in said and "cluster timer 0" in said, said
    assert "Old value = 0" in said and "New value = 4" in said, said
    # A command that fails ends GDB's batch.
    said, _ = debug(steps, "gap8", ["output *(int *)0x1a102200", "monitor why", "kill"])
    assert "Cannot access memory at address 0x1a102200" in said, said
    assert "uDMA UART access while its uDMA clock" in said, said


@pytest.mark.slow
def test_a_session(image: ElfImage) -> None:
    board = "gap8" if image.machine == "EM_RISCV" else "stm32f746"
    entry, main = image.entry & ~1, image.symbol("main") & ~1
    register = "$a0" if board == "gap8" else "$r3"
    place = "0x1c010000" if board == "gap8" else "0x20000100"
    said, _ = debug(
        image,
        board,
        [
            'printf "entry %x\\n", $pc',
            "break *main",
            "continue",
            'printf "main %x\\n", $pc',
            "stepi",
            'printf "moved %d\\n", $pc != main',
            f"set {register} = 0x1234",
            f'printf "register %x\\n", {register}',
            f"set *(int *){place} = 0x55aa1234",
            f"x/1xw {place}",
            *(command for command, _ in LOOKS[board]),
            "load",
            "compare-sections",
            "monitor reset halt" if board == "stm32f746" else "p 0",
            "maintenance flush register-cache",
            "continue",  # the firmware that was loaded comes to main again
            'printf "again %x\\n", $pc',
            "delete",
            "detach",
        ],
    )
    assert f"entry {entry:x}" in said, said
    assert f"main {main:x}" in said and f"again {main:x}" in said, said
    assert "moved 1" in said and "register 1234" in said and "0x55aa1234" in said
    for command, expected in LOOKS[board]:
        assert expected in said, (command, said)
    compared = re.findall(r"^Section .*: (\w+)", said, re.MULTILINE)
    assert compared and set(compared) == {"matched"}, said
    assert "detached" in said
