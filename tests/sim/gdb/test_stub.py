"""The stub in packets: transcripts by hand, every refusal, and what a stop may cost in cycles."""

from __future__ import annotations

import struct
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.core.rsp import crc32
from hil.sim.chip import Stop
from hil.sim.socs.gap8.chip import Gap8
from hil.sim.socs.stm32f7 import Stm32F746

from .conftest import CODE, L2, RISCV, THUMB, Client

ARM_PC, ARM_XPSR, RISCV_PC, A0 = 15, 16, 32, 10
STOPPED = b"T05thread:1;"


class TestFraming:
    def test_transcript_by_hand(self, arm: Client) -> None:
        assert arm.raw(b"$?#3f") == b"+$T05thread:1;#d7"
        assert arm.raw(b"-") == b"$T05thread:1;#d7"  # asked for again
        assert arm.raw(b"+") == b""
        assert arm.raw(b"$p0#a0") == b"+$00000000#80"  # r0: 8 times 0x30
        assert arm.raw(b"$QStartNoAckMode#b0") == b"+$OK#9a"
        assert arm.raw(b"$vMustReplyEmpty#3a") == b"$#00"

    def test_damage_is_asked_for_again(self, arm: Client) -> None:
        assert arm.raw(b"$?#3e") == b"-"
        assert arm.raw(b"$" + b"m" * 0x5000 + b"#00") == b"-"
        assert arm.raw(b"$?#3f").endswith(b"#d7")

    def test_half_a_packet_can_be_dropped(self, arm: Client) -> None:
        assert arm.raw(b"$m2000") == b"" and arm.stub.inside_packet
        assert arm.stub.drop_packet() == b"-" and not arm.stub.inside_packet
        assert arm.ask(b"?") == STOPPED

    @given(st.binary(max_size=40))
    @settings(
        max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_nonsense_is_answered_and_survived(self, arm: Client, noise: bytes) -> None:
        does_something = (b"c", b"C", b"s", b"S", b"k", b"D", b"v", b"Q", b"P", b"G", b"Z")
        content = noise.replace(b"#", b"").replace(b"$", b"")
        if content.startswith(does_something):
            return
        arm.ask(content)
        assert arm.ask(b"?") == STOPPED

    @pytest.mark.parametrize(
        "packet",
        [
            b"m", b"mzz,4", b"m0", b"m-1,4", b"m60000000,4", b"m20000000,9999", b"M20000000,4:00",
            b"M20000000,4:zz", b"X20000000,4:ab", b"X20000000,1:}", b"p99", b"P0=00", b"P99=0000",
            b"G00", b"Z0,60000000,2", b"Z0,", b"T9", b"Hg9", b"qXfer:features:read:other.xml:0,10",
            b"vFlashErase:20000000,8000", b"vFlashErase:8000000,100", b"vFlashWrite:20000000:abc",
            b"qRcmd,zz", b"c60000001x", b"vCont;s:77",
        ],
    )  # fmt: skip
    def test_what_cannot_be_done_is_refused_with_a_reason(self, arm: Client, packet: bytes) -> None:
        arm.ask(b"qSupported:error-message+")
        answer = arm.ask(packet)
        assert answer.startswith(b"E.") and len(answer) > 8
        assert arm.ask(b"?") == STOPPED

    def test_a_refused_read_of_memory_has_its_reason_where_the_client_can_take_it(
        self, arm: Client
    ) -> None:
        """GDB manual, "Standard Replies": no E.text to m without error-message+."""

        def why() -> str:
            return bytes.fromhex(arm.ask(b"qRcmd," + b"why".hex().encode()).decode()).decode()

        assert why() == "nothing has been refused\n"
        arm.ask(b"qSupported:swbreak+;no-error-message+")
        assert arm.ask(b"m60000000,4") == b"E01" and "0x60000000" in why()
        assert arm.ask(b"P99=0000").startswith(b"E.") and "no register" in why()
        assert b"error-message+" in arm.ask(b"qSupported:swbreak+;error-message+").split(b";")
        assert b"0x60000000" in arm.ask(b"m60000000,4")

    @pytest.mark.parametrize("packet", [b"Z2,20000000,4", b"z3,20000000,4", b"vRun", b"Hx1"])
    def test_what_is_unknown_is_answered_empty(self, arm: Client, packet: bytes) -> None:
        assert arm.ask(packet) == b""


class TestDescription:
    def test_arm_registers(self, arm: Client) -> None:
        root = document(arm, b"features:read:target.xml")
        assert root.findtext("architecture") == "arm"
        names = [reg.get("name") for reg in root.iter("reg")]
        assert names[:17] == [*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr"]
        assert root[2].get("name") == "org.gnu.gdb.arm.m-profile"
        total = sum(int(reg.get("bitsize", 0)) for reg in root.iter("reg")) // 8
        assert len(arm.ask(b"g")) == 2 * total

    def test_riscv_registers(self, riscv: Client) -> None:
        root = document(riscv, b"features:read:target.xml")
        assert root.findtext("architecture") == "riscv:rv32"
        assert [child.tag for child in root][:2] == ["architecture", "osabi"]  # as in the DTD
        assert root.findtext("osabi") == "none"
        names = [reg.get("name") for reg in root.iter("reg")]
        assert names[0] == "zero" and names[A0] == "a0" and names[RISCV_PC] == "pc"

    def test_flash_sectors_are_the_chips(self, arm: Client) -> None:
        found = [
            (
                int(m.get("start", ""), 0),
                int(m.get("length", ""), 0),
                int(m.findtext("property"), 0),
            )
            for m in document(arm, b"memory-map:read:").iter("memory")
            if m.get("type") == "flash"
        ]
        # RM0385, table 3: sectors 0-3 of 32 KB, 4 of 128 KB, 5-7 of 256 KB
        assert found == [
            (0x08000000, 0x20000, 0x8000), (0x08020000, 0x20000, 0x20000),
            (0x08040000, 0xC0000, 0x40000),
        ]  # fmt: skip

    def test_every_device_of_gap8_is_in_the_memory_map(self, riscv: Client) -> None:
        """GDB asks only for addresses that are in it. Bases: archi/chips/gap of the GAP SDK."""
        map_ = document(riscv, b"memory-map:read:")
        spans = [
            (int(m.get("start", ""), 0), int(m.get("length", ""), 0)) for m in map_.iter("memory")
        ]
        spans.sort()
        assert all(a + size <= b for (a, size), (b, _) in pairwise(spans))
        cluster_timer, hwce, fc_timer, soc_fifo = 0x10200400, 0x10201000, 0x1B200400, 0x1B200F00
        fc_timer_beside_it, uart, fc_memory_at_0 = 0x00200400, 0x1A102200, 0x00000010
        for device in (cluster_timer, hwce, fc_timer, soc_fifo, fc_timer_beside_it, uart,
                       fc_memory_at_0):  # fmt: skip
            assert any(start <= device < start + size for start, size in spans), hex(device)
        assert riscv.ask(b"m%x,4" % fc_timer_beside_it) == riscv.ask(b"m%x,4" % fc_timer)

    def test_documents_come_in_pieces(self, arm: Client) -> None:
        whole = arm.ask(b"qXfer:features:read:target.xml:0,3000")
        pieces, at = b"", 0
        while (piece := arm.ask(b"qXfer:features:read:target.xml:%x,40" % at))[:1] == b"m":
            pieces, at = pieces + piece[1:], at + len(piece) - 1
        assert whole == b"l" + pieces + piece[1:]

    def test_threads(self, riscv: Client) -> None:
        assert riscv.ask(b"qfThreadInfo") == b"m1,2,3,4,5,6,7,8,9"
        assert riscv.ask(b"qsThreadInfo") == b"l"
        assert bytes.fromhex(riscv.ask(b"qThreadExtraInfo,2").decode()) == b"PE0 held"
        assert bytes.fromhex(riscv.ask(b"qThreadExtraInfo,1").decode()) == b"FC running"


class TestMemory:
    def test_words_bytes_and_escapes(self, client: Client) -> None:
        base = 0x20000100 if client.stub.debug.architecture == "arm" else L2 + 0x100
        assert client.ask(b"M%x,4:01020304" % base) == b"OK"
        assert client.ask(b"X%x,3:}\x03a}]" % (base + 4)) == b"OK"
        assert client.ask(b"m%x,7" % base) == b"01020304" + b"#a}".hex().encode()
        assert client.ask(b"X%x,0:" % base) == b"OK"
        data = bytes.fromhex("01020304") + b"#a}"
        assert client.ask(b"qCRC:%x,7" % base) == b"C%x" % crc32(data)

    def test_a_device_register(self, arm: Client) -> None:
        # RCC_CR after reset: HSI on and ready, HSITRIM 16 (RM0385, 5.3.1)
        value = bytes.fromhex(arm.ask(b"m40023800,4").decode())
        assert int.from_bytes(value, "little") & 0xFF == 0x83
        assert arm.ask(b"M40023830,4:20000000") == b"OK"  # RCC_AHB1ENR: GPIOF
        assert arm.ask(b"m40023830,4") == b"20000000"
        assert arm.ask(b"m40023801,2") == b"E01"

    def test_flash_is_erased_by_sectors_and_written_once(self, arm: Client) -> None:
        assert arm.ask(b"M8000000,1:00").startswith(b"E.")
        assert arm.ask(b"vFlashWrite:8000008:ab").startswith(b"E.flash at 0x08000008 is not erased")
        assert arm.ask(b"vFlashErase:8000000,8000") == b"OK"
        assert arm.ask(b"m8000000,4") == b"ffffffff"
        assert arm.ask(b"vFlashWrite:8000004:}\x03x") == b"OK"
        assert arm.ask(b"vFlashDone") == b"OK"
        assert arm.ask(b"m8000004,2") == b"2378" == arm.ask(b"m200004,2")  # the alias as well
        assert arm.ask(b"vFlashErase:8018000,28000") == b"OK"  # over a border of two areas
        assert arm.ask(b"vFlashErase:8018000,10000").startswith(b"E.0x08028000 is no border")

    def test_gap8_has_no_flash(self, riscv: Client) -> None:
        assert riscv.ask(b"vFlashErase:8000000,8000").startswith(b"E.")
        assert "flash" not in {m.get("type") for m in document(riscv, b"memory-map:read:")}


class TestRunning:
    def test_every_step_of_an_it_block(self, arm: Client) -> None:
        places = []
        for _ in range(9):
            places.append(arm.pc(ARM_PC) - CODE)
            assert arm.ask(b"s") == STOPPED
        # conditional instructions whose condition fails are steps of their own
        assert places == [0, 2, 4, 6, 8, 10, 12, 14, 14]
        assert arm.pc(0) == 3 and arm.pc(1) == 5
        assert arm.chip.chip.counters()["instructions"] == 9

    def test_a_breakpoint_inside_an_it_block(self, arm: Client) -> None:
        assert arm.ask(b"Z0,%x,2" % (CODE + 10)) == b"OK"
        assert arm.ask(b"c") == STOPPED
        assert arm.pc(ARM_PC) == CODE + 10 and arm.pc(1) == 5
        assert arm.pc(ARM_XPSR) & 0x0600FC00  # still inside
        assert arm.ask(b"vCont;s:1") == STOPPED
        assert arm.pc(ARM_PC) == CODE + 12 and arm.pc(1) == 5

    def test_steps_of_a_loop(self, riscv: Client) -> None:
        places = []
        for _ in range(4):
            places.append(riscv.pc(RISCV_PC) - L2)
            assert riscv.ask(b"s") == STOPPED
        assert places == [0, 4, 8, 4] and riscv.pc(A0) == 3

    @pytest.mark.parametrize("kind", [0, 1])
    def test_to_a_breakpoint_and_on(self, riscv: Client, kind: int) -> None:
        assert riscv.ask(b"Z%d,%x,4" % (kind, L2 + 8)) == b"OK"
        for left in (4, 3, 2):
            assert riscv.ask(b"vCont;c") == STOPPED
            assert riscv.pc(RISCV_PC) == L2 + 8 and riscv.pc(A0) == left
        assert riscv.ask(b"m%x,4" % (L2 + 8)) == struct.pack("<I", RISCV[2]).hex().encode()
        assert riscv.ask(b"z%d,%x,4" % (kind, L2 + 8)) == b"OK"
        assert riscv.ask(b"Z0,%x,4" % (L2 + 12)) == b"OK"
        assert riscv.ask(b"c") == STOPPED and riscv.pc(A0) == 0

    def test_a_breakpoint_survives_new_code(self, riscv: Client) -> None:
        assert riscv.ask(b"Z0,%x,4" % (L2 + 4)) == b"OK"
        assert riscv.ask(b"M%x,4:130570ff" % (L2 + 4)) == b"OK"  # addi a0, zero, -9
        assert riscv.ask(b"c") == STOPPED and riscv.pc(A0) == 5
        assert riscv.ask(b"s") == STOPPED and riscv.pc(A0) == 0xFFFFFFF7

    def test_interrupt(self, arm: Client) -> None:
        assert arm.raw(b"$c#63") == b"+"
        arm.chip.run(1e-4)
        assert arm.stub.poll() == b"" and arm.chip.running
        assert arm.raw(b"$g#67").startswith(b"+$E.the chip runs")
        assert arm.raw(b"\x03") == b"$T02thread:1;#d4"
        assert not arm.chip.running and arm.pc(ARM_PC) == CODE + 14
        assert arm.raw(b"\x03") == b""

    def test_registers_and_jumps(self, client: Client) -> None:
        is_arm = client.stub.debug.architecture == "arm"
        pc, start = (ARM_PC, CODE) if is_arm else (RISCV_PC, L2)
        number = 1 if is_arm else A0
        assert client.ask(b"P%x=78563412" % number) == b"OK"
        assert client.pc(number) == 0x12345678
        assert client.ask(b"G" + client.ask(b"g")) == b"OK"
        assert client.ask(b"s%x" % (start + 4)) == STOPPED
        assert client.pc(pc) == start + (6 if is_arm else 8)

    def test_a_held_core_cannot_be_sent_away(self, riscv: Client) -> None:
        assert riscv.ask(b"Hg2") == b"OK"
        assert riscv.ask(b"P20=0000001c").startswith(b"E.PE0 is held")

    def test_reset(self, arm: Client) -> None:
        for _ in range(3):
            arm.ask(b"s")
        assert arm.ask(b"qRcmd," + b"reset halt".hex().encode()) == b"OK"
        assert arm.pc(ARM_PC) == CODE and not arm.chip.running
        assert arm.ask(b"qRcmd," + b"halt".hex().encode()) == b"OK"
        said = bytes.fromhex(arm.ask(b"qRcmd," + b"fly".hex().encode()).decode())
        assert said.startswith(b"no command 'fly'") and b"reset" in said

    def test_a_fault_is_told_with_its_reason(self, riscv: Client) -> None:
        assert riscv.ask(b"M%x,4:00000000" % (L2 + 4)) == b"OK"
        packet = riscv.raw(b"$c#63")
        while riscv.stub.running:
            riscv.chip.run(1e-5)
            packet += riscv.stub.poll()
        text, stop = packet.removeprefix(b"+").split(b"$")[1:]
        assert b"illegal instruction" in bytes.fromhex(text.partition(b"#")[0][1:].decode())
        assert stop.startswith(b"T0bthread:1;")
        assert riscv.ask(b"c").startswith(b"T0b")

    def test_an_exit_is_told_with_its_code(self, riscv: Client) -> None:
        # li t0,0x1A1040A0 (exit register); li t1,0x80000007; sw t1,0(t0)
        words = [0x1A1042B7, 0x0A028293, 0x80000337, 0x00730313, 0x0062A023, 0x0000006F]
        assert riscv.ask(b"M%x,18:" % L2 + struct.pack("<6I", *words).hex().encode()) == b"OK"
        assert riscv.ask(b"c") == b"W07"

    @pytest.mark.parametrize("packet", [b"D", b"k", b"vKill;1"])
    def test_the_end(self, arm: Client, packet: bytes) -> None:
        assert arm.ask(b"Z0,%x,2" % (CODE + 12)) == b"OK"
        arm.raw(b"$" + packet + b"#%02x" % (sum(packet) % 256))
        assert arm.stub.hang_up
        arm.stub.detach()
        assert arm.chip.running and not arm.chip.held
        arm.chip.run(1e-4)  # over the breakpoint, which has gone
        assert arm.chip.running and arm.chip.chip.debugger.read_register(0, ARM_PC) == CODE + 14


class TestCycles:
    def test_gap8_stops_cost_nothing(self, gap8_chip: Gap8) -> None:
        def cycles(stops: bool) -> tuple[dict[str, int], float]:
            gap8_chip.reset()
            gap8_chip.load_words(L2, RISCV)
            debug = gap8_chip.debugger
            if stops:
                debug.set_breakpoint(L2 + 8)
                assert debug.step(0) is None and debug.step(0) is None
                for _ in range(2):
                    assert gap8_chip.run(1e-4) is Stop.BREAK
                    assert debug.step(0) is None
                debug.clear_breakpoint(L2 + 8)
            left_s = 1e-4 - gap8_chip.time_s
            assert gap8_chip.run(left_s) is Stop.BUDGET
            return gap8_chip.counters(), gap8_chip.time_s

        assert cycles(stops=True) == cycles(stops=False)

    def test_arm_stops_cost_a_few_cycles_each(self) -> None:
        def until_the_end(places: list[int]) -> int:
            chip = Stm32F746()
            image = struct.pack("<II", 0x20001000, CODE | 1) + THUMB
            chip.debugger.write_flash(0x08000000, image)
            chip.reset()
            for address in [*places, CODE + 14]:
                chip.debugger.set_breakpoint(address)
            stops = 0
            while chip.run(1e-3) is Stop.BREAK:
                if chip.debugger.read_register(0, ARM_PC) == CODE + 14:
                    break
                assert chip.debugger.step(0) is None
                stops += 1
            assert stops == len(places)
            return chip.counters()["cycles"]

        undisturbed = until_the_end([])
        for places in ([CODE + 2], [CODE + 4], [CODE + 2, CODE + 12]):
            # Two cuts a stop, as cores/cortex_m7/debug.py says: each a line fetched again at no
            # wait states, and perhaps a pair parted.
            assert 0 <= until_the_end(places) - undisturbed <= 2 * 5 * len(places)

    def test_looking_takes_no_time(self, client: Client) -> None:
        before = client.chip.chip.counters(), client.chip.time_s
        client.ask(b"g")
        client.ask(b"m%x,40" % client.stub.debug.regions[-1].start)
        assert (client.chip.chip.counters(), client.chip.time_s) == before


def document(client: Client, name: bytes) -> ElementTree.Element:
    answer = client.ask(b"qXfer:" + name + b":0,3000")
    assert answer[:1] == b"l"
    return ElementTree.fromstring(answer[1:].replace(b"}\n", b"*"))
