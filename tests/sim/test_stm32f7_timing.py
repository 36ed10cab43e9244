"""Blocks in the cost model of the Cortex-M7: what passes their borders, how they are decoded.

The rules themselves are measured in loops on the chip, virtual or not (m7_rules.py). Rule numbers
are those that hil/sim/cores/cortex_m7/costs.py cites. Machine code comes from LLVM's assembler; an
optional check reads it back with capstone.
"""

from __future__ import annotations

import random

import pytest

from hil.sim.cores.cortex_m7.decode import decode_block
from hil.sim.cores.cortex_m7.layout import Ending
from hil.sim.cores.cortex_m7.op import FLAGS, Kind
from hil.sim.cores.cortex_m7.schedule import BlockCost, analyse, carry, remaining_at

CODE = {
    "add r0, r0, #1": "00f10100",
    "add r1, r1, #1": "01f10101",
    "mul r3, r4, r5": "04fb05f3",
    "ldr r0, [r1]": "0868",
    "ldr r2, [r1, #4]": "4a68",
    "ldr r2, [r0]": "0268",
    "sdiv r0, r1, r2": "91fbf2f0",
    "vmla.f32 s0, s1, s2": "00ee810a",
    "vadd.f32 s3, s0, s0": "70ee001a",
    "subs r0, #1": "0138",
    "bne .-2": "fdd1",
    "ldr r0, [r0]": "0068",
    "b .+0": "fee7",
    "bx lr": "7047",
}


def machine_code(*lines: str) -> bytes:
    return bytes.fromhex("".join(CODE[line] for line in lines))


def block(*lines: str, address: int = 0x08000000) -> BlockCost:
    return analyse(machine_code(*lines), address)


def test_counting_loop_takes_one_cycle_a_turn() -> None:
    cost = block("subs r0, #1", "bne .-2")
    assert cost.cycles + carry(cost, cost) == 1
    assert cost.backward and cost.ending is Ending.CONDITIONAL


def test_loop_carries_its_load_latency_round() -> None:
    """Pointer chase, one load a turn: its address waits for the load of the turn before (R16)."""
    cost = block("ldr r0, [r0]", "bne .-2")
    assert cost.cycles == 1 and carry(cost, cost) == 2


@pytest.mark.parametrize(
    ("expected", "before", "behind"),
    [
        # R22, R23, R16: what still runs at the border, less what the first block has left of it
        (2, ["ldr r0, [r1]", "b .+0"], ["ldr r2, [r0]"]),
        (1, ["ldr r0, [r1]", "mul r3, r4, r5", "mul r3, r4, r5", "b .+0"], ["ldr r2, [r0]"]),
        (0, ["ldr r0, [r1]", "b .+0"], ["mul r3, r4, r5"]),
        (4, ["vmla.f32 s0, s1, s2", "b .+0"], ["vadd.f32 s3, s0, s0"]),
        # the second block has time of its own before it needs the result
        (1, ["ldr r0, [r1]", "b .+0"], ["mul r3, r4, r5", "mul r3, r4, r5", "ldr r2, [r0]"]),
    ],
)
def test_latencies_cross_the_border(expected: float, before: list[str], behind: list[str]) -> None:
    assert carry(block(*before), block(*behind, address=0x08001000)) == expected


def test_what_follows_a_branch_not_taken_pairs_with_it() -> None:
    """R11. A taken branch ends its cycle, and so does one that found a partner already."""
    simple, alone = "add r1, r1, #1", block("bne .-2")
    assert carry(alone, block(simple, address=0x08000002)) == -1
    assert carry(alone, block(simple, address=0x08000100)) == 0
    assert carry(block("subs r0, #1", "bne .-2"), block(simple, address=0x08000004)) == 0
    # a block that a branch from elsewhere has cut in two is no border for the pipeline
    assert carry(block(simple), block("add r0, r0, #1", address=0x08000004)) == -1


def test_remaining_cycles_of_an_access() -> None:
    cost = analyse(machine_code("sdiv r0, r1, r2", "ldr r2, [r1, #4]"), 0x100)
    assert remaining_at(cost, 0x100) == 8 and remaining_at(cost, 0x104) == 1


def test_it_block_keeps_the_flags_and_needs_them() -> None:
    ops = decode_block(bytes.fromhex("08bf0130"), 0)  # it eq; addeq r0, #1
    assert ops[0].kind is Kind.IT
    assert ops[1].reads & FLAGS and not ops[1].writes & FLAGS


def test_branch_targets() -> None:
    back = decode_block(machine_code("b .+0"), 0x08000100)[0]
    assert back.ending is Ending.DIRECT and back.target == 0x08000100
    assert decode_block(machine_code("bx lr"), 0)[0].ending is Ending.INDIRECT
    call = decode_block(bytes.fromhex("fff7feff"), 0x08000200)[0]  # bl to itself
    assert call.target == 0x08000200 and call.writes == 1 << 14


# Where capstone 5's own tables lack an operand, and what no Cortex-M7 has.
CAPSTONE_INCOMPLETE = (
    *("smlal", "smlsl", "umlal", "umaal", "ssat", "usat", "sxta", "uxta", "pk", "rbit", "clz"),
    *("stmdb", "strbt", "strht", "ldrbt", "ldrht", "ldrsbt", "ldrsht", "msr", "pld", "pli"),
    *("ldc", "stc", "mc", "mr", "cdp", "hvc", "smc", "svc", "bxns", "blxns", "tt", "ud", "v"),
)
INTEGER = (1 << 16) - 1 & ~(1 << 15)


def test_registers_agree_with_capstone() -> None:
    """Read and write sets of random valid encodings, where capstone's own are complete."""
    capstone = pytest.importorskip("capstone", reason="the second decoder is not installed")
    reader = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    reader.detail = True
    names = {f"r{n}": n for n in range(13)} | {"sb": 9, "sl": 10, "fp": 11, "ip": 12}
    names |= {"sp": 13, "lr": 14}

    def mask(registers: list[int]) -> int:
        found = (names.get(reader.reg_name(register)) for register in registers)
        return sum(1 << number for number in set(found) if number is not None)

    draw = random.Random(7)
    codes = [h.to_bytes(2, "little") for h in range(0, 0xE800, 3)]
    for _ in range(12000):
        first = draw.choice([0xE800, 0xF000, 0xF800]) | draw.getrandbits(10)
        codes.append(first.to_bytes(2, "little") + draw.getrandbits(16).to_bytes(2, "little"))
    compared = 0
    for code in codes:
        read_back = next(reader.disasm(code, 0x1000), None)
        if read_back is None or read_back.size != len(code):
            continue
        if read_back.mnemonic.startswith(CAPSTONE_INCOMPLETE) or "pc" in read_back.op_str:
            continue
        op = decode_block(code, 0x1000)[0]
        reads, writes = (mask(registers) for registers in read_back.regs_access())
        text = f"{code.hex()} {read_back.mnemonic} {read_back.op_str}"
        assert op.all_reads & INTEGER == reads & INTEGER, text
        assert (op.writes | op.base_writes) & INTEGER == writes & INTEGER, text
        compared += 1
    assert compared > 15000
