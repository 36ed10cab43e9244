"""The targets of the instruction and device tests; see targets.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stm32_devices import device_of
from targets import RAMS, ChipTarget, GdbTarget, Ram, Target

from hil.sim.chips import make_chip

# The virtual chip of each kind, and its counter of instructions.
CHIPS = {"gap8": ("gap8", "fc_instructions"), "cortex-m7": ("stm32f746", "instructions")}


def _ram(config: pytest.Config, arch: str) -> Ram:
    text = config.getoption("--gdb-ram")
    if not text:
        return RAMS[arch]
    start, _, size = text.partition(":")
    try:
        ram = Ram(int(start, 0), int(size, 0))
    except ValueError:
        raise pytest.UsageError(f"--gdb-ram {text}: write ADDRESS:BYTES") from None
    if ram.start % 1024 or ram.size < 0x20000:
        raise pytest.UsageError(f"--gdb-ram {text}: from a multiple of 1024 on, 128 KB or more")
    return ram


@pytest.fixture(scope="session")
def gdb_target(request: pytest.FixtureRequest) -> Iterator[GdbTarget | None]:
    """The server of ``--gdb-target``, connected once; None without the option."""
    config = request.config
    server, arch = config.getoption("--gdb-target"), config.getoption("--gdb-arch")
    if server is None:
        yield None
        return
    if arch is None:
        raise pytest.UsageError("--gdb-target needs --gdb-arch gap8 or cortex-m7")
    target = GdbTarget(server, arch, _ram(config, arch))
    yield target
    target.close()


def _chosen(gdb_target: GdbTarget | None, arch: str, data_cache: str = "") -> Target:
    """The server's target if it is of this kind, else a new chip; reset."""
    target: Target
    if gdb_target is None:
        board, counter = CHIPS[arch]
        target = ChipTarget(make_chip(board, data_cache), RAMS[arch], counter)
    elif gdb_target.arch == arch:
        target = gdb_target
    else:
        pytest.skip(f"--gdb-arch is not {arch}")
    target.reset()
    return target


@pytest.fixture(scope="module")
def gap8_target(gdb_target: GdbTarget | None) -> Target:
    """A GAP8's control core, reset."""
    return _chosen(gdb_target, "gap8")


@pytest.fixture
def virtual_gap8(gap8_target: Target) -> ChipTarget:
    """The same where it is the virtual chip, for what is that one's own; else skipped."""
    if not isinstance(gap8_target, ChipTarget):
        pytest.skip("is about the virtual chip")
    return gap8_target


@pytest.fixture(scope="module")
def m7_target(gdb_target: GdbTarget | None) -> Target:
    """A Cortex-M7, reset."""
    return _chosen(gdb_target, "cortex-m7")


@pytest.fixture(scope="module")
def m7_timed_target(gdb_target: GdbTarget | None) -> Target:
    """The same, a virtual one as exact as it can: it follows the data cache by lines."""
    return _chosen(gdb_target, "cortex-m7", "lines")


@pytest.fixture(scope="module")
def stm32_target(m7_target: Target) -> Target:
    """``m7_target`` if it is an STM32F74x or F76x."""
    device_of(m7_target)
    return m7_target


@pytest.fixture(scope="module")
def stm32_timed_target(m7_timed_target: Target) -> Target:
    """``m7_timed_target`` if it is one, for tests to which it matters which memory is used."""
    device_of(m7_timed_target)
    if m7_timed_target.ram != RAMS["cortex-m7"]:
        pytest.skip("uses ITCM, DTCM and SRAM1: leave out --gdb-ram")
    return m7_timed_target
