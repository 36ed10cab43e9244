"""The GDB client against scripted servers, and the flasher against a virtual STM32F746."""

from __future__ import annotations

import hashlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil.core.errors import FlashError
from hil.core.firmware import Firmware
from hil.rig import presence
from hil.rig.flasher_spec import FlasherSpec
from hil.rig.flashers import UnreachableError
from hil.rig.flashers.gdb import GdbFlasher, sectors
from hil.rig.gdb_client import FlashArea, GdbClient
from hil.rig.presence import flasher_missing
from hil.sim.gdb.server import GdbServer, listen
from hil.sim.gdb.stub import Stub
from hil.sim.powered_chip import PoweredChip
from hil.sim.socs.stm32f7 import Stm32F746

from .elf import CODE, write_elf

SUPPORTED = b"qSupported:swbreak+;hwbreak+;error-message+"
GREETING = {
    SUPPORTED: b"PacketSize=40",
    b"qGDBServerVersion": b"",
    b"?": b"S05",
}


def packet(data: bytes) -> bytes:
    return b"$" + data + b"#%02x" % (sum(data) % 256)


@contextmanager
def scripted(answer: Callable[[bytes], bytes | None]) -> Iterator[str]:
    """A server whose answers (framed by ``answer``, or None to hang up) come packet by packet."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        received, reply = b"", b""
        with peer:
            while data := peer.recv(4096):
                received = (received + data).lstrip(b"+")
                if received[:1] == b"-":
                    received = received[1:]
                    peer.sendall(reply)
                while b"#" in received and len(received) >= received.index(b"#") + 3:
                    end = received.index(b"#")
                    asked, received = received[1:end], received[end + 3 :].lstrip(b"+")
                    answered = answer(asked)
                    if answered is None:
                        return
                    reply = answered
                    peer.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    thread.join(5.0)


def plain(answers: dict[bytes, bytes]) -> Callable[[bytes], bytes]:
    """A server that knows these packets and the greeting."""
    known = {**GREETING, **answers}
    return lambda asked: b"+" + packet(known.get(asked, b""))


class TestClient:
    def test_no_server(self) -> None:
        for server in ("127.0.0.1:1", "nowhere", "127.0.0.1:99999999"):
            with pytest.raises(FlashError, match=f"GDB server {server}: cannot connect"):
                GdbClient(server, 1.0)

    def test_silence_ends_at_the_deadline(self) -> None:
        with (
            scripted(lambda _: b"+") as server,
            pytest.raises(FlashError, match=r"did not answer b'qSupported.* within 0\.3 s"),
        ):
            GdbClient(server, 0.3)

    def test_the_look_before_work_greets_the_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with scripted(plain({})) as server:
            assert flasher_missing(FlasherSpec("gdb", server=server), "gap8") == ""
        monkeypatch.setattr(presence, "REACH_S", 0.1)
        with scripted(lambda _: b"") as server:
            said = flasher_missing(FlasherSpec("gdb", server=server), "gap8")
        assert f"GDB server {server} did not answer" in said and "within 0.1 s" in said

    def test_a_server_that_hangs_up(self) -> None:
        with (
            scripted(lambda _: None) as server,
            pytest.raises(FlashError, match=r"closed the connection|broke off"),
        ):
            GdbClient(server, 5.0)

    def test_refusals_in_both_spellings(self) -> None:
        answers = {b"m0,4": b"E01", b"m4,4": b"E.not while it rains", b"m8,4": b"xyzw"}
        with scripted(plain(answers)) as server:
            client = GdbClient(server, 5.0)
            with pytest.raises(FlashError, match="refused b'm0,4': E01"):
                client.read_memory(0, 4)
            with pytest.raises(FlashError, match="not while it rains"):
                client.read_memory(4, 4)
            with pytest.raises(FlashError, match="to a read at 0x8"):
                client.read_memory(8, 4)
            with pytest.raises(FlashError, match="does not know b'qRcmd"):
                client.monitor("reset halt")
            with pytest.raises(FlashError, match="describes no register 'pc'"):
                client.register_number("pc")
            assert client.flash_areas() == ()  # this one has no map
            client.close()

    def test_registers_of_included_documents(self) -> None:
        """As QEMU writes them: the prefix is not declared, numbers go on over the documents."""
        core = b'<target><reg name="r0"/><reg name="PC" regnum="15"/><reg name="xpsr"/></target>'
        documents = {
            b"target.xml": b'<target><xi:include href="core.xml"/><reg name="last"/></target>',
            b"core.xml": core,
        }

        def answer(asked: bytes) -> bytes:
            name, place = asked.removeprefix(b"qXfer:features:read:").rsplit(b":", 1)
            start, size = (int(number, 16) for number in place.split(b","))
            piece = documents[name][start : start + size]
            return packet((b"l" if start + size >= len(documents[name]) else b"m") + piece)

        def told(asked: bytes) -> bytes | None:
            if asked.startswith(b"qXfer"):
                return b"+" + answer(asked)
            greeting = {**GREETING, b"p10": b"78563412", b"p11": b"xx"}
            greeting[SUPPORTED] += b";qXfer:features:read+"
            return b"+" + packet(greeting.get(asked, b""))

        with scripted(told) as server:
            client = GdbClient(server, 5.0)
            numbers = [client.register_number(name) for name in ("r0", "pc", "xPSR", "last")]
            assert numbers == [0, 15, 16, 17]
            assert client.read_register(16) == 0x12345678
            with pytest.raises(FlashError, match="for register 17"):
                client.read_register(17)
            client.close()

    def test_a_run_that_does_not_end_is_interrupted(self) -> None:
        seen: list[bytes] = []

        def told(asked: bytes) -> bytes | None:
            seen.append(asked)
            if asked == b"c":
                return b"+"
            answers = {**GREETING, b"Z1,20,2": b"OK"}
            return b"+" + packet(answers.get(asked, b""))

        with scripted(told) as server:
            client = GdbClient(server, 0.5)
            client.set_breakpoint(0x20, 2)  # Z0 is not known there
            with pytest.raises(FlashError, match=r"did not answer b'c' within 0\.2 s"):
                client.run(0.2)
            assert seen[-3:] == [b"Z0,20,2", b"Z1,20,2", b"c"]
            client.close()

    def test_damage_and_naks_are_mended(self) -> None:
        spoilt = [b"-", b"+$abcd#00" + packet(b"abcd")]  # not understood; damaged, sent again

        def answer(asked: bytes) -> bytes:
            return spoilt.pop(0) if asked == b"m0,2" else plain({})(asked)

        with scripted(answer) as server:
            client = GdbClient(server, 5.0)
            assert client.read_memory(0, 2) == b"\xab\xcd" and not spoilt
            client.close()

    def test_small_packets_and_servers_without_binary(self) -> None:
        memory = bytearray(64)

        def answer(asked: bytes) -> bytes:
            if asked[:1] == b"M":
                place, _, data = asked[1:].partition(b":")
                at, size = (int(part, 16) for part in place.split(b","))
                memory[at : at + size] = bytes.fromhex(data.decode())
                return b"+" + packet(b"OK")
            if asked[:1] == b"m":
                at, size = (int(part, 16) for part in asked[1:].split(b","))
                return b"+" + packet(memory[at : at + size].hex().encode())
            assert len(asked) <= 0x40
            return plain({})(asked)

        with scripted(answer) as server:
            client = GdbClient(server, 5.0)
            client.write_memory(3, bytes(range(50)))
            assert client.read_memory(0, 60) == bytes(3) + bytes(range(50)) + bytes(7)
            client.close()

    def test_what_a_server_prints_comes_with_its_refusal(self) -> None:
        said = b"+" + packet(b"O" + b"no target\n".hex().encode()) + packet(b"E02")
        known = plain({})
        with scripted(lambda asked: said if asked.startswith(b"qRcmd") else known(asked)) as server:
            client = GdbClient(server, 5.0)
            with pytest.raises(FlashError, match="E02; it printed: no target"):
                client.monitor("reset halt")
            client.close()

    def test_run_lengths_are_expanded(self) -> None:
        with scripted(plain({b"m0,4": b'0*"00'})) as server:
            client = GdbClient(server, 5.0)
            assert client.read_memory(0, 4) == bytes(4)
            client.close()


class TestSectors:
    AREAS = (
        FlashArea(0x08000000, 0x20000, 0x8000),
        FlashArea(0x08020000, 0x20000, 0x20000),
        FlashArea(0x08040000, 0xC0000, 0x40000),
    )

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            ([(0x08000000, 1)], [(0x08000000, 0x08008000)]),
            ([(0x08007FFF, 2)], [(0x08000000, 0x08010000)]),
            ([(0x08000000, 0x8000)], [(0x08000000, 0x08008000)]),
            (
                [(0x08018000, 0x8001)],  # the last byte in the next area: never one range
                [(0x08018000, 0x08020000), (0x08020000, 0x08040000)],
            ),
            (
                [(0x08000000, 4), (0x08010000, 4)],
                [(0x08000000, 0x08008000), (0x08010000, 0x08018000)],
            ),
            ([(0x20000000, 16)], []),
        ],
    )
    def test_each_sector_once(
        self, parts: list[tuple[int, int]], expected: list[tuple[int, int]]
    ) -> None:
        assert sectors(self.AREAS, [(at, bytes(size)) for at, size in parts]) == expected


@pytest.fixture
def firmware(tmp_path: Path) -> Firmware:
    elf = write_elf(tmp_path / "firmware.elf", "stm32f746")
    digest = hashlib.sha256(elf.read_bytes()).hexdigest()
    return Firmware("stm32f746", elf, "ab" * 32, digest, "none", "toy", "", 1, ())


@pytest.fixture
def served() -> Iterator[tuple[PoweredChip, str]]:
    """A blank virtual chip behind a GDB port, served by a thread."""
    chip = PoweredChip(Stm32F746())
    selector = selectors.DefaultSelector()
    server = GdbServer(selector, listen(0), Stub(chip))
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            for key, mask in selector.select(0.01):
                key.data(mask)
            if chip.running:
                chip.run(1e-4)
            server.poll()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield chip, f"127.0.0.1:{server.port}"
    stop.set()
    thread.join(10.0)
    server.close()
    selector.close()


class TestOnTheVirtualChip:
    def test_flash_verify_run_and_reset(
        self, served: tuple[PoweredChip, str], firmware: Firmware
    ) -> None:
        chip, server = served
        flasher = GdbFlasher(server, False, 30.0)
        assert chip.blank and "hil virtual stm32f746" in flasher.state()
        report = flasher.flash(firmware)
        assert report.elf_sha256 == firmware.elf_sha256
        assert "hil virtual stm32f746" in report.detail and "read back" in report.detail
        assert not chip.blank
        code = CODE["stm32f746"]
        assert chip.chip.debugger.read_memory(0x08000000, len(code)) == code
        _wait_for(lambda: chip.running)
        flasher.flash(firmware)  # again, over what is there
        flasher.reset()
        flasher.recover()
        _wait_for(lambda: chip.running)

    def test_flash_that_does_not_take(
        self,
        served: tuple[PoweredChip, str],
        firmware: Firmware,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        chip, server = served
        debugger = chip.chip.debugger
        write = debugger.write_flash

        def stuck(address: int, data: bytes) -> None:
            write(address, data[:4] + b"\x00" + data[5:])

        monkeypatch.setattr(debugger, "write_flash", stuck)
        wanted = CODE["stm32f746"][4]
        with pytest.raises(FlashError, match=f"0x08000004 holds 0x00 and not 0x{wanted:02x}"):
            GdbFlasher(server, False, 30.0).flash(firmware)

    def test_the_servers_own_words(
        self, served: tuple[PoweredChip, str], firmware: Firmware
    ) -> None:
        chip, server = served
        chip.power(False)
        with pytest.raises(UnreachableError, match=r"refused .*no power"):
            GdbFlasher(server, False, 30.0).flash(firmware)

    def test_why_memory_cannot_be_read(self, served: tuple[PoweredChip, str]) -> None:
        client = GdbClient(served[1], 30.0)
        with pytest.raises(FlashError, match=r"refused b'm40023801,2': .*0x40023801"):
            client.read_memory(0x40023801, 2)
        client.close()

    def test_a_ram_image_cannot_be_started_before_it_was_loaded(self) -> None:
        with pytest.raises(FlashError, match="runs from RAM"):
            GdbFlasher("127.0.0.1:1", True, 1.0).reset()

    def test_a_ram_image_found_running_is_loaded_at_a_reset(
        self, firmware: Firmware, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flasher, loaded = GdbFlasher("127.0.0.1:1", True, 1.0), []
        monkeypatch.setattr(flasher, "flash", loaded.append)
        flasher.expect(firmware)
        flasher.reset()
        flasher.recover()
        assert loaded == [firmware, firmware]


def _wait_for(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(1000):
        if condition():
            return
        done.wait(0.01)
    pytest.fail("did not happen")
