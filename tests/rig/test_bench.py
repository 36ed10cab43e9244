"""A rig opened whole: twin process, locks, firmware, and what is said when a part is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_bench import Bench, scripted_command

from hil.core.errors import FlashError, InstrumentError, RigError, TargetError
from hil.core.provenance import Origin
from hil.core.trial import SelfTestSample
from hil.rig import lock
from hil.rig.bench import open_rig
from hil.rig.check import check
from hil.rig.firmware import ensure_firmware
from hil.rig.flashers import UnreachableError
from hil.rig.flashers.virtual import VirtualFlasher
from hil.rig.rigfile import Rig, load_rig
from hil.rig.twin_process import TwinProcess, twin_command

QUICK = """
name = "quick"
board = "gap8"
[console]
port = "{port}"
baud = 1_000_000
answer_s = 0.5
hello_s = 2.0
[flasher]
kind = "virtual"
control = "{control}"
timeout_s = 5.0
[meter]
kind = "scpi_digitizer"
resource = "{resource}"
sample_rate_hz = 100_000
range_a = 0.1
timeout_s = 0.5
"""
TWIN = {
    "port": "{dir}/console",
    "control": "{dir}/control.sock",
    "resource": "TCPIP0::127.0.0.1::{meter_port}::SOCKET",
}


def rig_file(folder: Path, places: dict[str, str], virtual: str = "") -> Rig:
    path = folder / "quick.toml"
    path.write_text(QUICK.format(**places) + virtual)
    return load_rig(str(path))


@pytest.fixture
def own_twin(tmp_path: Path) -> Rig:
    """A rig that starts its twin itself."""
    return rig_file(tmp_path, TWIN, "[virtual]\nseed = 5\nslowdown = 20.0\nstart_s = 20.0\n")


@pytest.fixture
def attached(tmp_path: Path, bench: Bench) -> Rig:
    """A rig whose twin runs already, as a real bench does."""
    places = {"port": bench.port, "control": str(bench.probe.path), "resource": bench.resource}
    return rig_file(tmp_path, places)


@pytest.fixture(autouse=True)
def own_folders(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "FOLDER", tmp_path / "locks")
    # What a twin that failed leaves behind goes away with pytest's folders.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("t")))


class TestOwnTwin:
    def test_from_nothing_to_a_waveform_and_nothing_left_behind(
        self, own_twin: Rig, bench: Bench
    ) -> None:
        events: list[str] = []
        with open_rig(
            own_twin, lambda what, _: events.append(what), scripted_command, allow_double=True
        ) as rig:
            folder = Path(rig.console.port).parent
            assert (folder / "twin.log").exists()
            assert "blank" in rig.diagnose()
            identity = rig.ensure_firmware(bench.firmware())
            assert identity.board == "gap8" and events == ["flash", "flashed"]
            assert rig.ensure_firmware(bench.firmware()) == identity and events == [
                "flash",
                "flashed",
            ]
            with rig.meter.acquisition(0.01) as acquisition:
                rig.console.run()
                assert len(acquisition.read()) > 1000
            assert rig.origins().cycles is Origin.SIMULATED
            assert rig.origins().energy is Origin.MODELLED
            assert "not a chip" in rig.origins().timing_model
            assert rig.meter.identity == "HIL,VPM1,V000005,1"
            assert rig.reset_board().build_id == identity.build_id
            assert rig.console.self_test() == SelfTestSample(1_000_000, 1_000_010, 5000)
        assert not folder.exists()

    def test_a_double_is_refused_outside_of_tests(self, own_twin: Rig) -> None:
        with (
            pytest.raises(RigError, match="firmware double"),
            open_rig(own_twin, command=scripted_command),
        ):
            pass
        items = {item.name: item for item in check(own_twin, scripted_command)}
        assert not items["flasher"].ok and "firmware double" in items["flasher"].detail

    def test_the_command_line_knows_no_double(self, tmp_path: Path) -> None:
        command = twin_command("scripted", tmp_path, 0, "scpi_digitizer")
        root = Path(__file__).parents[2]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
        assert done.returncode == 2 and "invalid choice: 'scripted'" in done.stderr

    def test_a_twin_that_ends_is_quoted(self) -> None:
        script = "import sys; print('no such board', file=sys.stderr); sys.exit(3)"
        with pytest.raises(RigError, match=r"(?s)ended with code 3.*no such board"):
            TwinProcess("gap8", 0, 10.0, lambda *_: [sys.executable, "-c", script])

    def test_a_twin_that_hangs_is_given_up(self) -> None:
        script = "import time; print('busy', flush=True); time.sleep(60)"
        started = time.monotonic()
        with pytest.raises(RigError, match=r"(?s)not up after 0.5 s.*busy"):
            TwinProcess("gap8", 0, 0.5, lambda *_: [sys.executable, "-c", script])
        assert time.monotonic() - started < 5

    def test_a_twin_ends_with_its_parent(self, tmp_path: Path) -> None:
        starter = (
            "import os, subprocess, sys\n"
            f"command = {scripted_command('gap8', tmp_path, 0)!r}\n"
            "command += ['--parent', str(os.getpid())]\n"
            "child = subprocess.Popen(command)\n"
            "print(child.pid, flush=True)\n"
            "sys.stdin.read()\n"
        )
        root = str(Path(__file__).parents[2])
        parent = subprocess.Popen(
            [sys.executable, "-c", starter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )
        assert parent.stdout is not None
        twin = int(parent.stdout.readline())
        _wait_for(lambda: (tmp_path / "control.sock").exists())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        _wait_for(lambda: not (tmp_path / "control.sock").exists())
        _wait_for(lambda: not Path(f"/proc/{twin}/fd/0").exists())


def _wait_for(condition: object, limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestAttached:
    def test_the_lock_names_its_holder(self, attached: Rig) -> None:
        with open_rig(attached, allow_double=True):
            holder = rf"in use by .* process {os.getpid()} .*rig quick"
            with pytest.raises(RigError, match=holder), open_rig(attached, allow_double=True):
                pass
            failed = {i.name: i.detail for i in check(attached, allow_double=True) if not i.ok}
            assert sorted(failed) == ["console", "flasher", "meter"]
            assert all("in use by" in detail for detail in failed.values())
        with open_rig(attached, allow_double=True):
            pass

    def test_check_of_a_healthy_bench(self, attached: Rig, bench: Bench) -> None:
        items = check(attached, allow_double=True)
        assert [item.name for item in items] == ["rig file", "flasher", "console", "meter"]
        assert all(item.ok for item in items)
        assert "no firmware on the board" in items[2].detail
        bench.probe.flash(bench.firmware())
        assert "network toy" in check(attached, allow_double=True)[2].detail

    def test_check_names_every_missing_part(self, tmp_path: Path) -> None:
        nowhere = {
            "port": str(tmp_path / "tty"),
            "control": str(tmp_path / "control"),
            "resource": "TCPIP0::127.0.0.1::1::SOCKET",
        }
        started = time.monotonic()
        items = {item.name: item for item in check(rig_file(tmp_path, nowhere))}
        assert time.monotonic() - started < 5
        assert not any(items[name].ok for name in ("flasher", "console", "meter"))
        assert "does not exist" in items["console"].detail
        assert "is the twin running" in items["flasher"].detail
        assert "127.0.0.1:1" in items["meter"].detail

    def test_another_board_than_the_rigs(self, attached: Rig) -> None:
        with (
            pytest.raises(RigError, match=r"the twin at .* is a gap8"),
            open_rig(replace(attached, board="stm32f746"), allow_double=True),
        ):
            pass

    def test_another_meter_than_the_rigs(self, attached: Rig) -> None:
        spec = replace(attached.meter, serial="V999999")
        with (
            pytest.raises(InstrumentError, match="wants serial 'V999999'"),
            open_rig(replace(attached, meter=spec), allow_double=True),
        ):
            pass


class TestFirmware:
    def test_an_old_build_is_replaced(self, bench: Bench) -> None:
        bench.probe.flash(bench.firmware("cd"))
        with bench.console() as console:
            assert ensure_firmware(console, bench.probe, bench.firmware()).build_id == "ab" * 32
        (kind, before), (done, how) = bench.events[-2:]
        assert kind == "flash" and "cdcdcdcdcdcd" in before
        assert done == "flashed" and "virtual probe wrote" in how

    def test_a_mute_firmware_is_replaced(self, bench: Bench) -> None:
        bench.probe.flash(bench.firmware("cd", "mute"))
        with bench.console() as console:
            assert ensure_firmware(console, bench.probe, bench.firmware()).build_id == "ab" * 32
        assert "did not answer IDENTIFY" in bench.events[-2][1]

    def test_no_supply_is_the_boards_failure(self, bench: Bench) -> None:
        bench.probe.flash(bench.firmware())
        bench.probe.power(False)
        with bench.console() as console, pytest.raises(TargetError, match="no power"):
            ensure_firmware(console, bench.probe, bench.firmware("cd"))

    def test_wrong_firmware_on_the_board(self, bench: Bench) -> None:
        wanted = replace(bench.firmware(), build_id="ef" * 32)
        with (
            bench.console() as console,
            pytest.raises(TargetError, match=r"wrong firmware on the board .* build abababababab"),
        ):
            ensure_firmware(console, bench.probe, wanted)

    def test_firmware_of_another_board(self, bench: Bench, attached: Rig) -> None:
        with bench.console() as console, pytest.raises(RigError, match="is a gap8, the firmware"):
            ensure_firmware(console, bench.probe, bench.firmware(board="stm32f746"))
        with (
            open_rig(attached, allow_double=True) as rig,
            pytest.raises(RigError, match="for board"),
        ):
            rig.ensure_firmware(bench.firmware(board="stm32f746"))


class TestProbe:
    def test_the_probes_own_words(self, bench: Bench, tmp_path: Path) -> None:
        path = tmp_path / "broken.elf"
        path.write_bytes(b"\x7fELF")
        with pytest.raises(FlashError, match=r"flash failed: .*broken\.elf: not an image"):
            bench.probe.flash(replace(bench.firmware(), elf=path))
        assert bench.probe.blank()
        with pytest.raises(FlashError, match=r"gone\.elf: cannot read"):
            bench.probe.flash(replace(bench.firmware(), elf=tmp_path / "gone.elf"))

    def test_a_file_changed_since_the_build(self, bench: Bench) -> None:
        with pytest.raises(FlashError, match="has changed since the build"):
            bench.probe.flash(replace(bench.firmware(), elf_sha256="00" * 32))

    def test_no_power(self, bench: Bench) -> None:
        bench.probe.power(False)
        with pytest.raises(UnreachableError, match="no power"):
            bench.probe.reset()
        with pytest.raises(UnreachableError, match="no power"):
            bench.probe.flash(bench.firmware())

    def test_no_twin(self, tmp_path: Path) -> None:
        with pytest.raises(FlashError, match="is the twin running"):
            VirtualFlasher(tmp_path / "control.sock")

    def test_bad_commands_are_answered(self, bench: Bench) -> None:
        for line, says in [
            ({"command": "fly"}, "there are flash, reset"),
            ({"command": "flash"}, "missing 1 required"),
            ({"command": "disturb", "wire": "to_host", "kind": "burn"}, "flip, drop, duplicate"),
            ({"command": "disturb", "wire": "meter", "kind": "burn"}, "mute, late"),
            ({"command": "disturb", "wire": "moon", "kind": "flip"}, "no wire 'moon'"),
        ]:
            bench.probe._socket.sendall(json.dumps(line).encode() + b"\n")
            answer = json.loads(bench.probe._read_line())
            assert not answer["ok"] and says in answer["error"]
        bench.probe._socket.sendall(b"hello\n")
        assert "not a command: 'hello'" in json.loads(bench.probe._read_line())["error"]


def test_a_user_without_a_name_can_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run under a number that no passwd file knows."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(lock, "FOLDER", tmp_path)
    monkeypatch.setattr(lock.getpass, "getuser", nobody)
    with (
        lock.locked(["part"], "one"),
        pytest.raises(RigError, match=rf"in use by user {os.getuid()}, process"),
        lock.locked(["part"], "two"),
    ):
        pass
