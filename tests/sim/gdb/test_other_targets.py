"""The instruction and device tests themselves, behind GDB servers in other processes.

A handful of vectors runs from here; with ``--slow`` whole files run in a pytest of their own with
``--gdb-target``, against the virtual chips as ``hil sim gdb`` serves them and against QEMU's
Cortex-M7 board, another simulator.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import targets
import test_gap8_cluster as cluster
import test_thumb_differential as thumb
from gap8_program import Gap8Programs
from m7_scripts import Scripts
from random_scripts import script
from targets import RAMS, ChipTarget, GdbTarget, Programs
from test_rv32_differential import compare
from test_xpulp_isa import VECTORS, check_vectors
from thumb_harness import build_harness, in_ram
from thumb_programs import program

from hil.core.errors import FlashError
from hil.sim.chips import make_chip

SIM = Path(__file__).parents[1]
ROOT = SIM.parents[1]
QEMU = shutil.which("qemu-system-arm")
HIL = (sys.executable, "-c", "from hil.cli import main; main()")
Connect = Callable[[str, str], GdbTarget]
GAP8_DEVICES = (
    "test_gap8_cluster.py", "test_gap8_mchan.py", "test_gap8_clocks.py", "test_gap8_timers.py",
    "test_gap8_uart.py", "test_gap8_hyperbus.py", "test_gap8_hwce.py",
    "test_gap8_hardware_loops.py", "test_gap8_performance_counters.py", "test_gap8_timing.py",
    "test_gap8_timing_cluster.py",
)  # fmt: skip
M7_TESTS = tuple(
    f"test_{name}.py"
    for name in ("core_cortex_m7", "devices_cortex_m7", "mpu_cortex_m7", "exceptions_cortex_m7",
                 "clocks_stm32f7", "usart_stm32f7", "caches_cortex_m7", "timing_cortex_m7",
                 "thumb_differential")
)  # fmt: skip
M7_WANTED = "cortex_m7 or stm32f7 or test_random_programs"
UP_S, SUITE_S = 60.0, 120.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
M7_LINK = ("thumb-freestanding-eabihf", "cortex_m7", 0x08000000, "m7_devices.S")
LINK = {
    "gap8": ("riscv32-freestanding-none", "generic_rv32+m+c-a-d-f", 0x1C010000, "gap8_devices.S"),
    "stm32f746": M7_LINK,
    "stm32f767": M7_LINK,
}


def elf(board: str, folder: Path) -> Path:
    """Something to load: the tests bring their own programs."""
    target, cpu, start, source = LINK[board]
    out, script = folder / f"{board}.elf", folder / f"{board}.ld"
    script.write_text(f"SECTIONS {{ .text {start} : {{ *(.text) }} }}\n")
    command = (*(sys.executable, "-m", "ziglang", "cc", "-target", target, f"-mcpu={cpu}"),
               *("-nostdlib", "-Wl,-e,stop", "-T", str(script)))  # fmt: skip
    subprocess.run([*command, str(SIM / "firmware" / source), "-o", str(out)], check=True)
    return out


@contextmanager
def served(board: str, folder: Path, *options: str) -> Iterator[str]:
    """The address at which ``hil sim gdb`` serves a new chip."""
    command = [*HIL, "sim", "gdb", str(elf(board, folder)), "--board", board, "--port", "0"]
    command += options
    with subprocess.Popen(
        [*command, "--wait-seconds", str(UP_S)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", said)
            assert found, said
            yield found.group()
        finally:
            process.terminate()


@contextmanager
def qemu() -> Iterator[str]:
    """The address of QEMU's MPS2 board with a Cortex-M7, halted at reset.

    Its time is counted in instructions: by this computer's clock, timers outrun a busy one.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [str(QEMU), "-M", "mps2-an500", "-S", "-display", "none", "-serial", "none"]
    command += ["-monitor", "none", "-icount", "shift=5", "-gdb", f"tcp:{address}"]
    with subprocess.Popen(command) as process:
        try:
            deadline_s = time.monotonic() + UP_S
            while not _listens(address):
                assert time.monotonic() < deadline_s, f"QEMU does not listen at {address}"
                time.sleep(0.05)
            yield address
        finally:
            process.terminate()


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def passed(address: str, arch: str, *arguments: str) -> int:
    """How many tests passed there; none may fail."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    target = ["--gdb-target", address, "--gdb-arch", arch]
    done = subprocess.run(
        [*command, *target, *arguments],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=SUITE_S, check=False,
    )  # fmt: skip
    found = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0 and found, f"{done.stdout[-3000:]}{done.stderr[-1000:]}"
    return int(found.group(1))


def files(*names: str) -> list[str]:
    return [str(SIM / name) for name in names]


@pytest.fixture
def connect() -> Iterator[Callable[[str, str], GdbTarget]]:
    """Makes a target of a server's address and its kind."""
    with ExitStack() as stack:

        def make(address: str, arch: str) -> GdbTarget:
            target = GdbTarget(address, arch, RAMS[arch])
            stack.callback(target.close)
            return target

        yield make


def test_a_handful_of_gap8_vectors_through_its_stub(tmp_path: Path, connect: Connect) -> None:
    rows = json.loads(VECTORS.read_text())["vectors"]
    with served("gap8", tmp_path) as address:
        target = connect(address, "gap8")
        check_vectors(target, rows[::20])
        assert compare(target, 1, units=100, passes=2) > 200
        with pytest.raises(AssertionError, match=f"{rows[0][0]}: rd_in"):
            check_vectors(target, [[*rows[0][:5], "0x123"]])
        programs = Gap8Programs(cluster.SOURCE, target, tmp_path)
        programs.on_cluster("identities")
        assert programs.words(8) == tuple(range(8))


def test_a_handful_of_thumb_programs_through_its_stub(
    tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served("stm32f746", tmp_path) as address:
        target = connect(address, "cortex-m7")
        programs = Programs(SIM / "firmware" / "m7_devices.S", "cortex-m7", target, tmp_path)
        programs.run("undefined")
        assert programs.results("r0", "r3") == (1 << 16, programs.symbols["undefined_at"])
        with pytest.raises(AssertionError, match=r"stopped at 0x[0-9a-f]{8}: T0b.*lock-up"):
            programs.run("stop_without_vectors")
        monkeypatch.setattr(targets, "RUN_S", 0.3)
        with pytest.raises(FlashError, match=r"did not answer b'c' within 0\.3 s"):
            programs.run("for_ever")
        programs.run("identity")  # the server is in order again
        if thumb.QEMU is None:
            return  # what follows compares with qemu-arm
        harness = build_harness(in_ram(target.ram), tmp_path)
        tried = program(harness.layout, 1, 20, 10, 4, True)
        thumb.compare(target, harness, tried, tmp_path)


@pytest.mark.slow
def test_gap8_tests_through_its_gdb_stub(tmp_path: Path) -> None:
    tests = files("test_xpulp_isa.py", "test_rv32_differential.py", "test_devices_gap8.py")
    wanted = "vectors or complex or viterbi or unicorn or devices_gap8"
    with served("gap8", tmp_path) as address:
        assert passed(address, "gap8", *tests, "-k", wanted) >= 14


@pytest.mark.slow
def test_gap8_device_and_cycle_tests_through_its_gdb_stub(tmp_path: Path) -> None:
    with served("gap8", tmp_path) as address:
        assert passed(address, "gap8", *files(*GAP8_DEVICES)) >= 175


@pytest.mark.slow
@pytest.mark.parametrize("board", ["stm32f746", "stm32f767"])
def test_cortex_m7_tests_through_its_gdb_stub(tmp_path: Path, board: str) -> None:
    with served(board, tmp_path, "--data-cache", "lines") as address:
        assert passed(address, "cortex-m7", *files(*M7_TESTS), "-k", M7_WANTED) >= 89


@pytest.mark.slow
@pytest.mark.skipif(QEMU is None, reason="qemu-system-arm is missing: apt install qemu-system-arm")
def test_cortex_m7_tests_on_qemu() -> None:
    """Its board has RAM at the same place, but no device of an STM32F7, and it lets unaligned
    accesses pass that the MPU's Device memory forbids (Armv7-M A3.2.1)."""
    wanted = f"({M7_WANTED}) and not device_memory_wants"
    with qemu() as address:
        assert passed(address, "cortex-m7", *files(*M7_TESTS), "-k", wanted) >= 69


@pytest.mark.slow
@pytest.mark.skipif(QEMU is None, reason="qemu-system-arm is missing: apt install qemu-system-arm")
def test_random_scripts_of_interrupts_agree_with_qemu(tmp_path: Path, connect: Connect) -> None:
    ours = Scripts(ChipTarget(make_chip("stm32f746"), RAMS["cortex-m7"], "instructions"), tmp_path)
    entries = 0
    with qemu() as address:
        theirs = Scripts(connect(address, "cortex-m7"), tmp_path)
        for seed in range(1000):
            trail = ours.run(*script(seed))
            assert trail == theirs.run(*script(seed)), f"seed {seed}"
            entries += len(trail)
    assert entries > 5_000
