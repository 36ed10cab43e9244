"""The virtual STM32F746 running a small firmware (tests/sim/firmware/stm32f7.c) over its wires."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hil.core.errors import FirmwareError, SimulationError
from hil.sim.chip import Chip, Stop
from hil.sim.socs.stm32f7 import Stm32F746

FIRMWARE = Path(__file__).parent / "firmware"
FLAGS = (
    *("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m7+fp_armv8d16sp", "-O2", "-g0"),
    *("-ffreestanding", "-nostdlib", "-rtlib=compiler-rt", "-fno-math-errno"),
    *("-fomit-frame-pointer", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    "-Wl,-e,Reset_Handler",
)
BYTE_S = 10e-6  # ten bits at 1 Mbaud
HSI_HZ, FAST_HZ = 16e6, 216e6


@pytest.fixture(scope="session")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stm32f7") / "firmware.elf"
    script = ["-T", str(FIRMWARE / "stm32f7.ld"), str(FIRMWARE / "stm32f7.c"), "-o", str(out)]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *FLAGS, *script], check=True)
    return out


@pytest.fixture
def chip(elf: Path) -> Stm32F746:
    chip = Stm32F746()
    chip.load_elf(elf)
    assert chip.run(1.0) is Stop.WAITING
    assert chip.uart_drain() == struct.pack("<I", 0x12345678)  # .data was copied from flash
    return chip


def ask(chip: Stm32F746, request: bytes) -> bytes:
    """Send a command and run until the firmware waits for the next one."""
    chip.uart_feed(request)
    assert chip.run(1.0) is Stop.WAITING, chip.fault
    return chip.uart_drain()


def words(answer: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(answer) // 4}I", answer)


def fails(chip: Stm32F746, request: bytes) -> str:
    chip.uart_feed(request)
    assert chip.run(1.0) is Stop.FAULT
    assert chip.fault is not None
    return str(chip.fault)


def peek(address: int) -> bytes:
    return b"p" + struct.pack("<I", address)


def poke(address: int, value: int = 0) -> bytes:
    return b"q" + struct.pack("<II", address, value)


# Boot and memory


def test_it_is_a_chip(chip: Stm32F746) -> None:
    as_chip: Chip = chip
    assert as_chip.name == "stm32f746" and as_chip.supply_v == 3.3
    assert chip.clock_hz == HSI_HZ


def test_ram_is_poisoned_at_power_on_and_kept_over_a_software_reset(chip: Stm32F746) -> None:
    assert words(ask(chip, b"n")) == (0xDEADBEEF,)
    before_s = chip.time_s
    assert ask(chip, b"r") == struct.pack("<I", 0x12345678)  # boots again
    assert words(ask(chip, b"n")) == (0xCAFE,)
    assert chip.time_s > before_s and chip.counters()["resets"] == 1
    csr = words(ask(chip, peek(0x40023874)))[0]
    assert csr >> 28 & 1, "SFTRSTF"
    chip.reset()
    assert chip.time_s == 0
    chip.run(1.0)
    chip.uart_drain()
    assert words(ask(chip, b"n")) == (0xDEADBEEF,)
    assert not words(ask(chip, peek(0x40023874)))[0] >> 28 & 1


def test_identity_and_flash_alias(chip: Stm32F746) -> None:
    assert words(ask(chip, peek(0xE0042000)))[0] & 0xFFF == 0x449
    assert words(ask(chip, peek(0xE000ED00)))[0] >> 4 & 0xFFF == 0xC27  # Cortex-M7
    assert ask(chip, peek(0x1FF0F420)) == b"virt"
    assert words(ask(chip, peek(0x1FF0F440)))[0] >> 16 == 1024  # KB of flash
    assert ask(chip, peek(0x00200000)) == ask(chip, peek(0x08000000))


# Console


def test_echo_takes_the_wire_its_time(chip: Stm32F746) -> None:
    start_s = chip.time_s
    assert ask(chip, b"eA") == b"A"
    took_s = chip.time_s - start_s
    # two bytes in, one byte out, and some instructions at 16 MHz
    assert 3 * BYTE_S <= took_s <= 3 * BYTE_S + 10e-6


def test_a_byte_leaves_only_with_its_stop_bit(chip: Stm32F746) -> None:
    chip.uart_feed(b"eA")
    assert chip.run(2.5 * BYTE_S) is Stop.BUDGET
    assert chip.uart_drain() == b""
    assert chip.run(1.0) is Stop.WAITING
    assert chip.uart_drain() == b"A"


def test_waiting_takes_no_time(chip: Stm32F746) -> None:
    before_s = chip.time_s
    assert chip.run(1.0) is Stop.WAITING
    assert chip.time_s - before_s < 10e-6
    chip.idle_until(before_s + 0.25)
    assert chip.time_s == pytest.approx(before_s + 0.25, abs=2e-6)  # a turn
    assert ask(chip, b"eB") == b"B"


def test_bytes_that_nobody_takes_are_lost_and_counted(chip: Stm32F746) -> None:
    chip.uart_feed(b"s" + struct.pack("<I", 2000) + b"eXeYeZ")
    chip.run(1.0)
    assert chip.counters()["uart_overruns"] > 0


def test_receiver_not_armed(elf: Path) -> None:
    chip = Stm32F746()
    chip.load_elf(elf)
    chip.uart_feed(b"eA")
    chip.run(1.0)
    assert chip.uart_drain() == struct.pack("<I", 0x12345678)
    assert chip.counters()["uart_lost_unready"] == 2


def test_in_half_duplex_the_rx_pin_is_not_heard(chip: Stm32F746) -> None:
    chip.debugger.write_memory(0x40004808, struct.pack("<I", 1 << 3))  # CR3.HDSEL
    assert ask(chip, b"eA") == b"" and chip.counters()["uart_lost_unready"] == 2


def test_sleep_wakes_on_a_received_byte(chip: Stm32F746) -> None:
    chip.uart_feed(b"z")
    assert chip.run(1.0) is Stop.WAITING
    asleep_s = chip.time_s
    chip.idle_until(asleep_s + 1e-3)
    assert ask(chip, b"A") == b"B"
    assert chip.time_s > asleep_s + 1e-3
    energy_j = chip.energy_drain().energy_j
    middle = int((asleep_s + 0.5e-3) / 10e-6)
    assert energy_j[middle] < 0.75 * energy_j[2], "sleep draws less than polling"


# Clocks


def test_216_mhz(chip: Stm32F746) -> None:
    assert ask(chip, b"f") == b"F"
    assert chip.clock_hz == FAST_HZ
    start_s = chip.time_s
    assert ask(chip, b"eA") == b"A"
    assert 3 * BYTE_S <= chip.time_s - start_s <= 3 * BYTE_S + 2e-6


def test_too_few_wait_states(chip: Stm32F746) -> None:
    assert "216 MHz with 5 flash wait states" in fails(chip, b"w")


def test_missing_over_drive(chip: Stm32F746) -> None:
    assert "over-drive off" in fails(chip, b"o")


@pytest.mark.parametrize(
    ("register", "value", "says"),
    [
        (0x40007000, 0x0000C000, "over-drive off"),  # PWR_CR1 without ODEN
        (0x40023C00, 0x00000006, "6 flash wait states"),
        (0x40023808, 0x00009002, "PCLK1 108 MHz"),  # PPRE1 = 2 is too fast for APB1
    ],
)
def test_conditions_of_216_mhz_must_last(
    chip: Stm32F746, register: int, value: int, says: str
) -> None:
    ask(chip, b"f")
    assert says in fails(chip, poke(register, value))


def test_cycle_counter_is_locked(chip: Stm32F746) -> None:
    disabled, locked, span, cleared = words(ask(chip, b"c"))
    assert disabled == 0 and locked == 0
    assert 0 < span < 20 and cleared < 20


def test_unclocked_peripheral_reads_zero_and_is_reported(chip: Stm32F746) -> None:
    assert words(ask(chip, peek(0x4000002C))) == (0,)  # TIM2_ARR is 0xFFFFFFFF when clocked
    assert chip.counters()["unclocked_accesses"] == 1
    assert any("TIM2" in text for text in chip.warnings)


# Marker


@pytest.mark.parametrize(("setup", "clock_hz"), [(b"", HSI_HZ), (b"f", FAST_HZ)])
def test_marker_edges_agree_with_the_cycle_counter(
    chip: Stm32F746, setup: bytes, clock_hz: float
) -> None:
    if setup:
        ask(chip, setup)
    (cycles,) = words(ask(chip, b"m"))
    edges = chip.marker_drain()
    assert [edge.level for edge in edges] == [True, False], "none while the pin is an input"
    span_s = edges[1].time_s - edges[0].time_s
    assert span_s * clock_hz == pytest.approx(cycles, abs=30)
    assert chip.marker_drain() == []


# Faults and exit


@pytest.mark.parametrize(
    ("request_bytes", "says"),
    [
        (peek(0x60000000), "external memory"),
        (poke(0x08000000), "flash is read-only"),
        (peek(0x40030000), "address 0x40030000"),
        (peek(0x40004900), "USART3 has no modelled register at offset 0x100"),
        (poke(0x40004808, 0x80), "USART3_CR3"),  # DMA
        (poke(0x40023C04, 0x45670123), "programming the flash is not modelled"),
        (b"u", "undefined instruction (0xde00"),  # and no handlers: see the exceptions' tests
    ],
)
def test_faults_name_reason_and_place(chip: Stm32F746, request_bytes: bytes, says: str) -> None:
    told = fails(chip, request_bytes)
    assert says in told and "pc 0x0800" in told
    assert chip.run(1.0) is Stop.FAULT, "a fault is final until reset"
    chip.reset()
    assert chip.fault is None and chip.run(1.0) is Stop.WAITING


def test_float_needs_the_fpu_switched_on(chip: Stm32F746) -> None:
    assert words(ask(chip, b"v")) == (82,)  # 1.5 * 55, truncated
    chip.reset()
    chip.run(1.0)
    assert "NOCP" in fails(chip, b"k")


def test_semihosting_exit(chip: Stm32F746) -> None:
    chip.uart_feed(b"x\x07")
    assert chip.run(1.0) is Stop.EXITED
    assert chip.exit_code == 7


# Time and energy


def workload(chip: Stm32F746, slice_s: float) -> tuple[dict[str, int], np.ndarray, float]:
    ask(chip, b"f")
    chip.uart_feed(b"s" + struct.pack("<I", 200_000))
    while chip.run(slice_s) is Stop.BUDGET:
        pass
    return chip.counters(), chip.energy_drain().energy_j, chip.time_s


def test_slicing_a_run_changes_nothing(elf: Path) -> None:
    results = []
    for slice_s in (1.0, 0.37e-3):
        chip = Stm32F746()
        chip.load_elf(elf)
        chip.run(1.0)
        results.append(workload(chip, slice_s))
    (counts, energy, time_s), (sliced_counts, sliced_energy, sliced_time_s) = results
    assert counts == sliced_counts and time_s == sliced_time_s
    np.testing.assert_allclose(energy, sliced_energy, rtol=1e-9)


def test_loop_time_by_hand(chip: Stm32F746) -> None:
    """200,000 turns of 8 operations and loop control; 8 cycles by the rules, some for the ends."""
    ask(chip, b"f")
    before = chip.counters()["cycles"]
    ask(chip, b"s" + struct.pack("<I", 200_000))
    wire_cycles = 9 * BYTE_S * FAST_HZ
    assert chip.counters()["cycles"] - before == pytest.approx(1.6e6 + wire_cycles, rel=2e-3)


def test_energy_bins_are_contiguous_and_plausible(chip: Stm32F746) -> None:
    slow = chip.energy_drain()
    assert slow.first == 0 and len(slow.energy_j) == int(chip.time_s / slow.bin_s)
    ask(chip, b"f")
    between = chip.energy_drain()
    assert between.first == len(slow.energy_j)
    ask(chip, b"s" + struct.pack("<I", 100_000))
    fast = chip.energy_drain()
    current_a = np.median(fast.energy_j) / fast.bin_s / chip.supply_v
    assert 0.08 < current_a < 0.13, "datasheet: about 102 mA at 216 MHz"
    slow_a = np.median(slow.energy_j) / slow.bin_s / chip.supply_v
    assert 0.008 < slow_a < 0.016, "datasheet: about 12 mA at 16 MHz"


def test_instruction_cache_pays(elf: Path) -> None:
    """The spin command turns the caches on: afterwards the same echo costs fewer cycles."""
    chip = Stm32F746()
    chip.load_elf(elf)
    chip.run(1.0)
    ask(chip, b"f")

    def cycles_of(command: bytes) -> int:
        before = chip.counters()["cycles"]
        ask(chip, command)
        return chip.counters()["cycles"] - before

    uncached = cycles_of(b"v")
    ask(chip, b"s" + struct.pack("<I", 1))
    ask(chip, b"v")
    assert cycles_of(b"v") < uncached
    assert 0 < chip.counters()["icache_misses"] < 200


# Loading


def test_wrong_images_are_refused(tmp_path: Path, elf: Path) -> None:
    chip = Stm32F746()
    bad = tmp_path / "bad.elf"
    raw = bytearray(elf.read_bytes())
    raw[18] = 243  # EM_RISCV
    bad.write_bytes(raw)
    with pytest.raises(FirmwareError, match="EM_RISCV"):
        chip.load_elf(bad)
    raw = bytearray(elf.read_bytes())
    headers = struct.unpack_from("<I", raw, 28)[0]
    struct.pack_into("<II", raw, headers + 8, 0x09000000, 0x09000000)
    bad.write_bytes(raw)
    with pytest.raises(SimulationError, match="0x09000000"):
        chip.load_elf(bad)


def test_unknown_console_is_refused() -> None:
    with pytest.raises(SimulationError, match="USART3"):
        Stm32F746(console="UART9")
