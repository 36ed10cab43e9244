"""Every message over a real pty with pyserial, and everything that can go wrong there."""

from __future__ import annotations

import os
import pty
import time
import zlib
from pathlib import Path

import pytest
from scripted_bench import Bench

from hil.core.console import (
    MAX_PAYLOAD,
    PROTOCOL_VERSION,
    SET_PARTITION,
    ErrorCode,
    RunFlag,
)
from hil.core.errors import ProtocolError, RigError, TargetError
from hil.core.trial import LayerCycles, SelfTestSample
from hil.rig.console import BoardRefusal, Console, Timeouts
from hil.rig.frames import OVERHEAD_BYTES, encode
from hil.rig.messages import FaultRecord

INPUT = bytes(range(250)) * 12


def toy_output(data: bytes, size: int, factor: int) -> bytes:
    """The double's layer in plain Python."""
    return bytes((data[i % len(data)] * factor + 1) % 256 for i in range(size))


class TestMessages:
    def test_identify(self, console: Console) -> None:
        identity = console.identify()
        assert (identity.board, identity.network, identity.layers) == ("gap8", "toy", 3)
        assert identity.build_id == "ab" * 32 and len(identity.chip_id) == 32
        assert identity.compute_clock_hz == 100_000_000 and identity.protocol == PROTOCOL_VERSION

    def test_self_test(self, console: Console) -> None:
        assert console.self_test() == SelfTestSample(1_000_000, 1_000_010, 5000)

    def test_outputs_come_back_through_chunks(self, console: Console) -> None:
        console.load_input(INPUT)
        console.run(flags=RunFlag.DIGEST)
        first = toy_output(INPUT, 5000, 3)
        second = toy_output(first, 700, 5)
        assert console.read_tensor(0, 3000) == INPUT
        assert console.read_tensor(1, 5000) == first
        assert console.read_tensor(2, 700) == second
        third = toy_output(second, 10, 7)
        assert console.read_digests(3) == tuple(map(zlib.crc32, (first, second, third)))

    def test_run_reports_cycles_of_all_iterations(self, console: Console) -> None:
        result = console.run(warmup=2, iterations=5)
        assert result.iterations == 5 and result.cycles == 5 * 310_000
        assert result.layers[1] == LayerCycles(100_000, 60_000, 30_000)
        assert result.layers[1].other == 10_000
        assert console.run(flags=RunFlag.TOTAL_ONLY).layers == ()

    def test_partition(self, console: Console) -> None:
        assert console.set_partition(2) == 700
        assert len(console.run().layers) == 2

    def test_repeat_layers(self, console: Console) -> None:
        assert console.repeat_layers(1, 100, [4, 0]) == (400_000, 0)

    def test_reset_and_fault_record(self, console: Console) -> None:
        assert console.read_fault() is None
        identity = console.reset()
        assert identity.reset_cause == 2
        record = console.read_fault()
        assert record == FaultRecord(3, 0x0800_1234, 0x2000_0000, (1, 2, 3, 4))
        assert "pc 0x08001234" in str(record)


class TestRefusals:
    def test_bad_argument_carries_code_and_value(self, console: Console) -> None:
        with pytest.raises(BoardRefusal, match=r"SET_PARTITION: BAD_ARGUMENT, value 9") as caught:
            console.set_partition(9)
        assert (caught.value.code, caught.value.detail) == (ErrorCode.BAD_ARGUMENT, 9)

    def test_too_much_input(self, console: Console) -> None:
        with pytest.raises(BoardRefusal, match="LOAD_INPUT"):
            console.load_input(bytes(3001))

    def test_wrong_count_of_digests(self, console: Console) -> None:
        console.run(flags=RunFlag.DIGEST)
        with pytest.raises(ProtocolError, match=r"12 payload bytes, 16 belong there"):
            console.read_digests(4)


class TestDamage:
    def test_a_damaged_answer_is_asked_for_again_and_recorded(
        self, bench: Bench, console: Console
    ) -> None:
        bench.probe.disturb("to_host", "flip", after=20)
        assert console.identify().network == "toy"
        assert [what for what, _ in bench.events] == ["retry", "resync"]
        assert "IDENTIFY" in bench.events[0][1] and "CRC" in bench.events[0][1]

    def test_a_damaged_request_is_repeated(self, bench: Bench, console: Console) -> None:
        bench.probe.disturb("to_board", "flip", after=30)
        console.load_input(INPUT)
        assert console.read_tensor(0, 3000) == INPUT
        assert [what for what, _ in bench.events] == ["retry"]

    def test_twice_damaged_is_an_error(self, bench: Bench, console: Console) -> None:
        answer_bytes = 122
        bench.probe.disturb("to_host", "flip", after=20)
        bench.probe.disturb("to_host", "flip", after=20 + answer_bytes)
        with pytest.raises(ProtocolError, match="damaged"):
            console.identify()

    def test_run_is_never_repeated(self, bench: Bench, console: Console) -> None:
        bench.probe.disturb("to_host", "flip", after=12)
        with pytest.raises(ProtocolError, match="RUN"):
            console.run()
        assert "retry" not in [what for what, _ in bench.events]

    def test_noise_in_front_of_an_answer_is_skipped_and_recorded(
        self, bench: Bench, console: Console
    ) -> None:
        bench.probe.disturb("to_host", "insert", after=0, count=5)
        assert console.identify().network == "toy"
        assert [what for what, _ in bench.events] == ["resync"]
        assert "00 00 00 00 00" in bench.events[0][1]

    def test_a_lost_byte_ends_at_the_deadline_with_what_was_seen(
        self, bench: Bench, console: Console
    ) -> None:
        bench.probe.disturb("to_host", "drop", after=40)
        with pytest.raises(ProtocolError, match=r"IDENTIFY within .* last bytes seen: .*00 00"):
            console.identify()

    @pytest.mark.parametrize("place", [1, 40, 120])  # in SYNC, payload, CRC
    def test_a_damaged_announcement_is_asked_for(
        self, bench: Bench, console: Console, place: int
    ) -> None:
        console.discard_input()
        bench.probe.disturb("to_host", "flip", after=place)
        bench.probe.reset()
        assert console.wait_hello().network == "toy"
        assert "the line damaged it" in bench.events[-1][1]

    def test_a_lost_announcement_is_not_the_boards_fault(
        self, bench: Bench, console: Console
    ) -> None:
        bench.probe.disturb("to_host", "drop", count=122)
        bench.probe.reset()
        with pytest.raises(ProtocolError, match="answers IDENTIFY: the line is bad"):
            console.wait_hello()

    def test_a_damaged_announcement_of_a_dead_board(self, bench: Bench, console: Console) -> None:
        bench.probe.disturb("to_host", "flip", after=9)
        bench.probe.reset()
        time.sleep(0.2)
        bench.probe.disturb("chip", "hang")
        with pytest.raises(TargetError, match="did not announce itself"):
            console.wait_hello()

    def test_a_line_that_loses_the_question_too(self, bench: Bench, console: Console) -> None:
        """The board is asked once more before it is named."""
        request_bytes, zeros = OVERHEAD_BYTES + SET_PARTITION.size, OVERHEAD_BYTES + MAX_PAYLOAD
        bench.probe.disturb("to_board", "flip", after=0)
        bench.probe.disturb("to_board", "flip", after=request_bytes + zeros)
        with pytest.raises(ProtocolError, match="alive and answers IDENTIFY"):
            console.set_partition(2)

    @pytest.mark.parametrize("place", [0, 3, 5, 9])  # in SYNC, sequence, length, CRC
    def test_a_byte_lost_on_the_way_to_the_board_is_not_the_boards_fault(
        self, bench: Bench, console: Console, place: int
    ) -> None:
        bench.probe.disturb("to_board", "drop", after=place)
        with pytest.raises(ProtocolError, match="alive and answers IDENTIFY: the line is bad"):
            console.set_partition(2)
        assert console.set_partition(2) == 700

    def test_a_stale_answer_is_not_taken_for_the_next(self, bench: Bench, console: Console) -> None:
        console._send(encode(4, 200, b"\x01\x00"))  # SET_PARTITION that nobody waits for
        time.sleep(0.1)
        assert console.set_partition(2) == 700
        assert [what for what, _ in bench.events] == ["resync"]
        assert "sequence 200" in bench.events[0][1]


class TestRestart:
    """A board that has restarted has forgotten its input and its partition."""

    def test_between_two_requests(self, bench: Bench, console: Console) -> None:
        console.load_input(INPUT)
        bench.probe.disturb("chip", "reset", waiting=True)
        while not console._serial.in_waiting:
            time.sleep(0.01)
        with pytest.raises(TargetError, match="restarted instead of answering RUN"):
            console.run()

    def test_in_the_middle_of_an_answer(self, bench: Bench, console: Console) -> None:
        console.load_input(INPUT)
        # READ_TENSOR's answer takes 20 ms of the board's time.
        bench.probe.disturb("chip", "reset", after_s=0.010)
        with pytest.raises(TargetError, match="restarted instead of answering READ_TENSOR"):
            console.read_tensor(0, 3000)

    def test_who_are_you_is_answered_all_the_same(self, bench: Bench, console: Console) -> None:
        bench.probe.reset()
        while not console._serial.in_waiting:  # it has announced itself before it is asked
            time.sleep(0.01)
        assert console.identify().network == "toy"


class TestSilence:
    def test_a_mute_board(self, bench: Bench) -> None:
        bench.probe.flash(bench.firmware(behaviour="mute"))
        with bench.console() as console:
            with pytest.raises(
                TargetError, match=r"did not answer IDENTIFY within 0\.\d s; .*nothing"
            ):
                console.identify()
            with pytest.raises(TargetError, match="did not announce itself"):
                console.wait_hello()

    def test_a_board_that_halts(self, bench: Bench) -> None:
        with bench.console() as console:
            bench.probe.flash(bench.firmware(behaviour="crash_on_run"))
            console.wait_hello()
            with pytest.raises(TargetError, match="did not answer RUN"):
                console.run(expected_s=0.01)
        assert "the chip halted: the double crashes on RUN" in bench.probe.state()

    def test_a_probe_that_knows_more_ends_the_wait(self, bench: Bench) -> None:
        with bench.console(bench.probe.halted) as console:
            bench.probe.flash(bench.firmware(behaviour="crash_on_run"))
            console.wait_hello()
            started = time.monotonic()
            with pytest.raises(TargetError, match="will not answer: the chip halted: the double"):
                console.run(expected_s=10.0)
            assert time.monotonic() - started < 5.0

    def test_a_board_that_restarts(self, bench: Bench) -> None:
        with bench.console() as console:
            bench.probe.flash(bench.firmware(behaviour="restart_on_run"))
            console.wait_hello()
            with pytest.raises(TargetError, match=r"restarted instead of answering RUN.*00000002"):
                console.run()
            console.last_fault = lambda: "BusFault in conv"
            with pytest.raises(TargetError, match=r"restarted.*; its last fault: BusFault in conv"):
                console.run()

    def test_a_board_without_power_hears_nothing(self, bench: Bench, console: Console) -> None:
        bench.probe.power(False)
        with pytest.raises(TargetError):
            console.identify()
        bench.probe.power(True)
        assert console.wait_hello().board == "gap8"


class TestPorts:
    def test_a_missing_port_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RigError, match=r"nowhere does not exist; .*\[console\] port|no serial"):
            Console(str(tmp_path / "nowhere"))

    def test_a_busy_port_names_its_holder(self, bench: Bench, console: Console) -> None:
        with pytest.raises(RigError, match=rf"is busy: open in .*process {os.getpid()}|this very"):
            Console(bench.port)
        assert console.identify().board == "gap8"

    def test_a_file_is_no_port(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("x")
        with pytest.raises(RigError, match="cannot be opened"):
            Console(str(path))

    def test_a_port_that_goes_away(self) -> None:
        master, slave = pty.openpty()
        console = Console(os.ttyname(slave), timeouts=Timeouts(answer_s=2.0))
        os.close(slave)
        os.close(master)
        with pytest.raises(RigError, match="was lost"):
            console.identify()
        console.close()


def answering(console: Console, answer: bytes) -> None:
    """Let the next request get ``answer``, whatever it asks."""
    console._send = lambda _data: console._frames.extend(console._parser.feed(answer))  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (encode(0x81, 77, bytes(112)), "sequence 77"),
        (encode(0x85, 2, b""), "type 0x85"),
        (encode(0x81, 2, bytes(20)), "protocol 0"),
        (encode(0x81, 2, b"\x02\x00" + bytes(20)), "22 payload bytes, 112 belong"),
        (encode(0x81, 2, b"\x03\x00" + bytes(200)), "protocol 3, this host speaks 2"),
        (encode(0x7F, 2, b"\x02\x01\x00\x00\x00"), "UNKNOWN_MESSAGE"),
        (encode(0x7F, 2, b"\x63\x01\x00\x00\x00"), "code 99"),
        (encode(0x7F, 2, b"\x02"), "an ERROR has 1 payload bytes"),
    ],
)
def test_answers_outside_the_protocol(console: Console, answer: bytes, says: str) -> None:
    console._sequence = 1
    answering(console, answer)
    with pytest.raises(ProtocolError, match=says):
        console.identify()


def test_a_reported_fault_is_the_targets(console: Console) -> None:
    console._sequence = 1
    answering(console, encode(0x7F, 2, b"\x05\xef\xbe\xad\xde"))
    with pytest.raises(TargetError, match="0xdeadbeef"):
        console.identify()
