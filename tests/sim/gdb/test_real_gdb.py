"""The stub under the real debugger: gdb-multiarch loads, breaks, steps, looks, flashes."""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
import threading

import pytest

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.elf import ElfImage, load_segments
from hil.core.network import Op
from hil.nn.random_layers import random_network
from hil.sim.gdb.server import serve_elf

GDB = shutil.which("gdb-multiarch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(GDB is None, reason="gdb-multiarch is not installed (apt-get install it)"),
]
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
