"""The twin's parts: wires with noise, line servers, one time line over resets, running an ELF."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hil.core.errors import SimulationError
from hil.sim.chip import Chip, EnergyBins, Fault, MarkerEdge, Stop
from hil.sim.chips import CHIPS, make_chip
from hil.sim.marked import MarkedEnergy, MarkedWindow
from hil.sim.powered_chip import PoweredChip
from hil.sim.runner import EXIT_FAULT, Limits, run_chip, run_elf
from hil.sim.scripted_chip import IDLE_W, TOY_NETWORK, Image, ScriptedChip, frame
from hil.sim.twin import Twin
from hil.sim.wires import Disturbance, NoisyWire, PtyWire
from hil.sim.wires_lines import LineServer, Reply, Wait

RUN_MARKED = frame(5, 1, bytes([0, 0, 1, 0, 1]))
RESET = frame(10, 2, b"")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return Image("ab" * 32).write(tmp_path / "a.elf")


def run_until_waiting(chip: PoweredChip) -> bytes:
    sent = b""
    while chip.running:
        chip.run(0.001)
        sent += chip.uart_drain()
    return sent


class TestMarkedEnergy:
    def test_joules_between_edges_by_hand(self) -> None:
        """Bins of 1, 2, 3 ... J in a second each; edges within bins, beyond the last known one."""
        marked = MarkedEnergy()
        marked.feed(EnergyBins(0, 1.0, np.array([1.0, 2.0])), [MarkerEdge(0.5, True)])
        marked.feed(EnergyBins(2, 1.0, np.array([3.0])), [MarkerEdge(3.25, False)])
        assert not marked.windows  # the fall lies in a bin that is not complete yet
        marked.feed(EnergyBins(3, 1.0, np.array([4.0])), [])
        marked.feed(EnergyBins(4, 1.0, np.zeros(0)), [MarkerEdge(4.0, True)])
        marked.feed(EnergyBins(4, 1.0, np.array([5.0])), [MarkerEdge(5.0, False)])
        # Half of 1, 2 and 3, a quarter of 4; then all of 5.
        assert list(marked.windows) == [
            MarkedWindow(0.5, 3.25, 0.5 + 2 + 3 + 1), MarkedWindow(4.0, 5.0, 5.0)
        ]  # fmt: skip


class TestNoisyWire:
    @pytest.mark.parametrize(
        ("kind", "after", "count", "expected"),
        [
            ("flip", 2, 1, b"ab\x9cdef"),
            ("flip", 4, 2, b"abcd\x9a\x99"),
            ("drop", 0, 2, b"cdef"),
            ("insert", 3, 2, b"abc\x00\x00def"),
            ("duplicate", 1, 2, b"abbccdef"),
            ("flip", 6, 1, b"abcdef"),
        ],
    )
    @pytest.mark.parametrize("cut", [0, 1, 3, 6])
    def test_each_kind_wherever_the_stream_is_cut(
        self, kind: str, after: int, count: int, expected: bytes, cut: int
    ) -> None:
        wire = NoisyWire()
        assert wire.carry(b"before") == b"before"
        wire.disturb(Disturbance(kind, after, count))
        assert wire.carry(b"abcdef"[:cut]) + wire.carry(b"abcdef"[cut:]) == expected

    def test_a_disturbance_passes(self) -> None:
        wire = NoisyWire()
        wire.disturb(Disturbance("flip", 0))
        assert wire.carry(b"aa") + wire.carry(b"aa") == b"\x9eaaa"

    def test_delayed_bytes_keep_their_order_and_none_is_lost(self) -> None:
        wire = NoisyWire()
        wire.disturb(Disturbance("delay", 1, time_s=0.02))
        out = wire.carry(b"a") + wire.carry(b"bc")
        assert out == b"a" and wire.holding
        while wire.holding:
            out += wire.carry(b"")
        assert out + wire.carry(b"d") == b"abcd"

    @pytest.mark.parametrize("bad", [("burn", 0, 1), ("flip", -1, 1), ("flip", 0, 0)])
    def test_impossible_ones_are_refused(self, bad: tuple[str, int, int]) -> None:
        with pytest.raises(SimulationError, match="flip, drop, duplicate, insert, delay"):
            Disturbance(*bad)


class TestPtyWire:
    def test_bytes_of_any_value_pass_both_ways(self, tmp_path: Path) -> None:
        wire = PtyWire(tmp_path / "console")
        port = os.open(tmp_path / "console", os.O_RDWR | os.O_NOCTTY)
        every = bytes(range(256))
        os.write(port, every)
        assert wire.read() == every
        assert wire.read() == b""
        wire.write(every)
        assert os.read(port, 1000) == every
        os.close(port)
        wire.close()
        assert not (tmp_path / "console").exists()

    def test_a_host_that_does_not_read_loses_the_surplus_only(self, tmp_path: Path) -> None:
        wire = PtyWire(tmp_path / "console")
        for _ in range(200):
            wire.write(bytes(1000))
        assert wire.full and 0 < wire.lost_bytes < 200_000
        wire.close()


class TestAccidents:
    @pytest.fixture
    def chip(self, image: Path) -> PoweredChip:
        chip = PoweredChip(ScriptedChip())
        chip.flash(image)
        run_until_waiting(chip)
        chip.drain()
        return chip

    def test_a_hung_chip_draws_on_and_says_nothing_until_a_reset(self, chip: PoweredChip) -> None:
        chip.idle_until(chip.time_s + 0.001)
        chip.hang()
        chip.feed(RUN_MARKED)
        assert not chip.running and chip.halted is None and chip.uart_drain() == b""
        chip.drain()
        chip.idle_until(chip.time_s + 0.001)
        bins, edges = chip.drain()
        assert bins.energy_j.sum() == pytest.approx(IDLE_W * 0.001, rel=0.01) and not edges
        chip.reset()
        assert not chip.hung and b"scripted double" in run_until_waiting(chip)

    def test_a_brown_out_is_dark_and_restarts(self, chip: PoweredChip) -> None:
        before_s = chip.time_s
        chip.brown_out(0.002)
        bins, _ = chip.drain()
        assert np.count_nonzero(bins.energy_j == 0) == pytest.approx(0.002 / chip.bin_s, abs=1)
        assert chip.time_s > before_s + 0.002 - chip.bin_s
        assert b"scripted double" in run_until_waiting(chip)

    def test_an_erased_chip_is_blank(self, chip: PoweredChip) -> None:
        chip.erase()
        assert chip.blank and not chip.running


class TestPoweredChip:
    def test_one_time_line_over_reset_flash_and_power(self, image: Path) -> None:
        chip = PoweredChip(ScriptedChip())
        chip.flash(image)
        run_until_waiting(chip)
        total_j, next_bin = 0.0, 0
        times_s = [chip.time_s]
        actions: list[Callable[[], object]] = [
            chip.reset,
            lambda: chip.flash(image),
            lambda: chip.power(False),
            lambda: chip.idle_until(chip.time_s + 0.01),
            lambda: chip.power(True),
        ]
        for action in actions:
            action()
            run_until_waiting(chip)
            chip.idle_until(chip.time_s + 0.001)
            times_s.append(chip.time_s)
            bins, _ = chip.drain()
            assert bins.first == next_bin
            next_bin += len(bins.energy_j)
            total_j += float(bins.energy_j.sum())
        assert times_s == sorted(times_s)
        powered_s = times_s[-1] - 0.012  # off for two idle steps and the 10 ms in between
        assert total_j == pytest.approx(IDLE_W * powered_s, rel=0.005)

    def test_a_reset_in_a_window_ends_it(self, image: Path) -> None:
        chip = PoweredChip(ScriptedChip())
        chip.flash(image)
        run_until_waiting(chip)
        chip.feed(RUN_MARKED)
        chip.run(0.002)
        chip.reset()
        _, edges = chip.drain()
        assert [edge.level for edge in edges] == [True, False]
        assert edges[0].time_s < edges[1].time_s <= chip.time_s

    def test_a_software_reset_keeps_time_and_the_answer(self, image: Path) -> None:
        chip = PoweredChip(ScriptedChip())
        chip.flash(image)
        run_until_waiting(chip)
        before_s = chip.time_s
        chip.feed(RESET)
        sent = run_until_waiting(chip)
        assert chip.time_s > before_s
        assert frame(0x8A, 2, b"") in sent and b"toy" in sent

    def test_bytes_for_a_chip_that_is_off_or_blank_are_lost(self, image: Path) -> None:
        chip = PoweredChip(ScriptedChip())
        chip.feed(b"x")
        assert not chip.running
        chip.flash(image)
        run_until_waiting(chip)
        chip.power(False)
        chip.feed(RUN_MARKED)
        assert not chip.running and chip.uart_drain() == b""

    def test_a_refused_image_leaves_a_blank_chip_whose_time_goes_on(
        self, image: Path, tmp_path: Path
    ) -> None:
        chip = PoweredChip(ScriptedChip())
        chip.flash(image)
        run_until_waiting(chip)
        with pytest.raises(SimulationError):
            chip.flash(tmp_path / "conftest.py")
        (tmp_path / "bad.elf").write_text("{}")
        with pytest.raises(SimulationError, match="not an image"):
            chip.flash(tmp_path / "bad.elf")
        assert chip.blank and not chip.running
        before_s = chip.time_s
        chip.idle_until(before_s + 0.01)
        chip.drain()
        assert chip.time_s == pytest.approx(before_s + 0.01)

    @pytest.mark.parametrize("board", ["gap8", "stm32f746"])
    def test_a_blank_chip_draws_power_and_its_time_goes_on(self, board: str) -> None:
        """A meter may be read before anything was flashed."""
        chip = PoweredChip(make_chip(board))
        drawn_j = []
        for _ in range(3):
            before_s = chip.time_s
            chip.idle_until(before_s + 1e-3)
            assert chip.time_s == pytest.approx(before_s + 1e-3, abs=2e-5)
            drawn_j.append(chip.drain()[0].energy_j.sum())
        assert chip.halted is None and chip.blank
        assert min(drawn_j) > 0 and max(drawn_j) < 1.2 * min(drawn_j)

    def test_a_chip_that_faults_while_it_waits_is_halted(
        self, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chip = PoweredChip(ScriptedChip())
        chip.flash(image)
        run_until_waiting(chip)
        fault = Fault("a load from nowhere", 0x1234, 0, 0x30)
        monkeypatch.setattr(chip.chip, "idle_until", lambda _: None)
        monkeypatch.setattr(chip.chip, "_fault", fault)
        chip.idle_until(chip.time_s + 0.01)
        assert chip.halted is not None and "a load from nowhere" in chip.halted

    def test_what_the_simulator_does_not_model_halts_the_chip(
        self, image: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run(_duration_s: float) -> Stop:
            raise SimulationError("register 0x40001234 is not modelled")

        inner = ScriptedChip()
        chip = PoweredChip(inner)
        chip.flash(image)
        monkeypatch.setattr(inner, "run", run)
        chip.run(0.001)
        assert chip.halted == "the chip halted: register 0x40001234 is not modelled"
        monkeypatch.undo()
        chip.reset()
        assert chip.halted is None and b"toy" in run_until_waiting(chip)


def test_the_control_socket_is_there_only_when_it_takes_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that waits for the file connects at once, however long the twin is kept waiting."""
    seen: list[bool] = []
    listen = socket.socket.listen

    def late(listener: socket.socket, *rest: int) -> None:
        seen.append((tmp_path / "control.sock").exists())
        listen(listener, *rest)

    monkeypatch.setattr(socket.socket, "listen", late)
    twin = Twin(ScriptedChip("gap8"), "gap8", tmp_path)
    assert seen and not any(seen)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "control.sock"))
    twin.close()
    assert not list(tmp_path.iterdir())


class TestDouble:
    def test_energy_of_a_run_is_that_of_its_layers(self, image: Path) -> None:
        chip = ScriptedChip()
        chip.load_elf(image)
        while chip.run(0.001) is Stop.BUDGET:
            pass
        chip.energy_drain()
        start_s = chip.time_s
        chip.uart_feed(RUN_MARKED)
        while chip.run(0.0007) is Stop.BUDGET:
            pass
        energy_j = float(chip.energy_drain().energy_j.sum())
        busy_s = sum(layer.cycles for layer in TOY_NETWORK) / 100e6
        work_j = sum(layer.cycles / 100e6 * layer.power_w for layer in TOY_NETWORK)
        idle_s = chip.time_s - start_s - busy_s
        assert energy_j == pytest.approx(work_j + idle_s * IDLE_W, abs=2 * 2e-6 * 0.33)
        rise, fall = chip.marker_drain()
        assert fall.time_s - rise.time_s == pytest.approx(busy_s)

    def test_it_is_a_chip(self) -> None:
        chip: Chip = ScriptedChip()
        assert chip.run(1.0) is Stop.WAITING and chip.time_s == 0.0
        assert np.array_equal(chip.energy_drain().energy_j, [])


class TestRunner:
    def test_report_of_a_firmware_that_waits(self, image: Path) -> None:
        chip = ScriptedChip()
        chip.load_elf(image)
        written: list[bytes] = []
        report = run_chip(chip, "scripted", written.append, Limits(1.0))
        assert report.stop is Stop.WAITING and report.status == 0
        assert b"toy" in b"".join(written)
        assert "waits for console input" in report.lines()[0]

    def test_time_over_and_fault(self, tmp_path: Path) -> None:
        chip = ScriptedChip()
        chip.load_elf(Image("ab" * 32, "crash_on_run").write(tmp_path / "c.elf"))
        report = run_chip(chip, "scripted", lambda _: None, Limits(0.0005))
        assert report.stop is Stop.BUDGET and report.time_s == pytest.approx(0.0005)
        chip.uart_feed(RUN_MARKED)
        report = run_chip(chip, "scripted", lambda _: None, Limits(1.0))
        assert report.status == EXIT_FAULT and "crashes on RUN" in report.lines()[0]

    def test_what_is_not_modelled_ends_the_run_with_a_report(self, image: Path) -> None:
        class Refusing(ScriptedChip):
            def run(self, duration_s: float) -> Stop:
                raise SimulationError("RTC is not modelled")

        chip = Refusing()
        chip.load_elf(image)
        report = run_chip(chip, "scripted", lambda _: None, Limits(1.0))
        assert report.status == EXIT_FAULT
        assert report.lines()[0] == "scripted: fault: RTC is not modelled"

    def test_unknown_boards_are_refused(self, image: Path) -> None:
        with pytest.raises(
            SimulationError, match="no virtual chip for board 'scripted'; there are"
        ):
            run_elf(image, "scripted", lambda _: None)
        with pytest.raises(SimulationError, match=", ".join(CHIPS)):
            make_chip("gap9")


class TestLineServer:
    def test_waiting_answers_keep_their_order(self) -> None:
        ready = threading.Event()

        def handle(line: str) -> Reply | None:
            if line == "slow" and not ready.is_set():
                raise Wait
            return None if line == "quiet" else Reply(line.encode() * 3 + b"\n", line == "bye")

        with selectors.DefaultSelector() as selector:
            listener = socket.create_server(("127.0.0.1", 0))
            server = LineServer(selector, listener, handle)
            client = socket.create_connection(listener.getsockname())
            client.sendall(b"a\nquiet\nslow\nb\nby")
            client.settimeout(5.0)
            self._serve(selector, 3)
            assert client.recv(100) == b"aaa\n" and server.waiting
            ready.set()
            server.retry()
            assert client.recv(100) == b"slowslowslow\nbbb\n" and not server.waiting
            client.sendall(b"e\nnever\n")
            self._serve(selector, 2)
            assert client.recv(100) == b"byebyebye\n"
            assert client.recv(100) == b""
            client.close()
            server.close()

    def test_large_answers_and_lost_clients(self) -> None:
        with selectors.DefaultSelector() as selector:
            listener = socket.create_server(("127.0.0.1", 0))
            server = LineServer(selector, listener, lambda _: Reply(bytes(20_000_000)))
            client = socket.create_connection(listener.getsockname())
            client.sendall(b"x\n")
            self._serve(selector, 4)
            got = len(client.recv(1_000_000))
            assert got > 0
            client.close()
            self._serve(selector, 10)
            other = socket.create_connection(listener.getsockname())
            self._serve(selector, 2)
            other.close()
            server.close()

    @staticmethod
    def _serve(selector: selectors.BaseSelector, rounds: int) -> None:
        for _ in range(rounds):
            for key, mask in selector.select(0.1):
                key.data(mask)
