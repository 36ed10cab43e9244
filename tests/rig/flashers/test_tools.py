"""The command-line flashers against what the tools really said, and against the tools themselves.

``recorded/`` holds the output of OpenOCD 0.12.0, stlink-tools 1.7.0 and pyOCD 0.46.0 on a computer
without a probe; a script that prints such a file stands for the tool. Words that only come with a
probe are the tools' own format strings (st-flash) or Tcl (OpenOCD's ``program``).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hil.core.errors import FlashError, TargetError
from hil.core.firmware import Firmware
from hil.core.trial import Verdict
from hil.rig.flasher_spec import FlasherSpec, check_flasher
from hil.rig.flashers import Flasher, UnreachableError
from hil.rig.flashers.hyperflash import FLASHER, SCRIPTS
from hil.rig.flashers.opening import open_flasher

from .elf import CODE, write_elf

RECORDED = Path(__file__).parent / "recorded"
SERIAL = "066AFF535752717867132034"
VERSIONS = {"openocd": "openocd_version", "st-flash": "st_flash_version", "pyocd": "pyocd_version"}


@pytest.fixture
def firmware(tmp_path: Path) -> Firmware:
    return firmware_at(tmp_path, "stm32f746")


def firmware_at(folder: Path, board: str) -> Firmware:
    elf = write_elf(folder / "firmware.elf", board)
    digest = hashlib.sha256(elf.read_bytes()).hexdigest()
    return Firmware(board, elf, "ab" * 32, digest, "none", "toy", "", 1, ())


class FakeTool:
    """A program that answers call after call with given output, and notes its arguments.

    Its first call is for --version, as the flashers' is.
    """

    def __init__(self, folder: Path, kind: str, answers: list[tuple[str, int]]) -> None:
        self.path = folder / kind
        self.calls = folder / "calls.txt"
        for number, (text, status) in enumerate([recorded(VERSIONS[kind]), *answers]):
            (folder / f"answer{number}").write_text(f"{text}")
            (folder / f"status{number}").write_text(f"{status}\n")
        self.path.write_text(
            "#!/bin/sh\n"
            f"cd {folder}\n"
            "n=$(cat count 2>/dev/null || echo 0)\n"
            "echo $((n + 1)) > count\n"
            'for word in "$@"; do printf "%s|" "$word" >> calls.txt; done; echo >> calls.txt\n'
            "cat answer$n\n"
            "exit $(cat status$n)\n"
        )
        self.path.chmod(0o755)

    def arguments(self) -> list[list[str]]:
        """Of each call behind --version."""
        return [line.split("|")[:-1] for line in self.calls.read_text().splitlines()[1:]]


def recorded(name: str) -> tuple[str, int]:
    text, status = (RECORDED / f"{name}.txt").read_text().rsplit("exit status ", 1)
    return text, int(status)


def flasher_of(
    kind: str, program: Path | str, board: str = "stm32f746", events: list[str] | None = None
) -> Flasher:
    spec = FlasherSpec(kind, serial=SERIAL, program=str(program), timeout_s=30.0)
    if board == "gap8":
        spec = replace(spec, interface="interface/jtag.cfg", target="target/gap8revb.tcl")
    noted = [] if events is None else events
    return open_flasher(spec, board, lambda what, text: noted.append(f"{what}: {text}"))


NO_PROBE = [
    ("openocd", "openocd_no_stlink", f"no ST-LINK {SERIAL} is connected"),
    ("openocd", "openocd_no_gap8", "lacks a configuration file"),
    ("st-flash", "st_flash_no_stlink", f"no ST-LINK {SERIAL} is connected"),
    ("pyocd", "pyocd_no_probe", f"no probe {SERIAL} is connected"),
]


@pytest.mark.parametrize(("kind", "file", "says"), NO_PROBE)
def test_recorded_failures(
    tmp_path: Path, firmware: Firmware, kind: str, file: str, says: str
) -> None:
    tool = FakeTool(tmp_path, kind, [recorded(file)])
    with pytest.raises(FlashError) as caught:
        flasher_of(kind, tool.path).flash(firmware)
    text = str(caught.value)
    assert says in text
    assert re.search(rf"{kind} (0\.12\.0|1\.7\.0|0\.46\.0)", text)  # the tool and its version
    last = recorded(file)[0].strip().splitlines()[-1].strip()
    assert last in text  # its own last words


def test_recorded_ftdi_adapter_is_not_there(tmp_path: Path) -> None:
    tool = FakeTool(tmp_path, "openocd", [recorded("openocd_no_ftdi")])
    with pytest.raises(FlashError, match=f"no JTAG adapter {SERIAL} is connected"):
        flasher_of("openocd", tool.path, "gap8").flash(firmware_at(tmp_path, "gap8"))


OPENOCD_DONE = "** Programming Finished **\n** Verify Started **\n** Verified OK **\n"
OPENOCD_DIFFERS = "** Verify Started **\nError: checksum mismatch\n** Verify Failed **\n"
ST_FLASH_DONE = "INFO common.c: Flash written and verified! jolly good!\n"
ST_FLASH_DIFFERS = "ERROR common.c: Verification of flash failed at offset: 12\n"
UNREACHABLE = {
    "openocd": "Error: init mode failed (unable to connect to the target)\n",
    "st-flash": "Failed to connect to target\n",
    "pyocd": "0000123 C No ACK received [__main__]\n",
}


def good_answers(kind: str, size: int) -> list[tuple[str, int]]:
    compared = f"All {size} bytes match.\n"
    return {
        "openocd": [(OPENOCD_DONE, 0)],
        "st-flash": [(ST_FLASH_DONE, 0)],
        "pyocd": [("", 0), (compared, 0), ("", 0)],
    }[kind]


@pytest.mark.parametrize("kind", ["openocd", "st-flash", "pyocd"])
def test_it_writes_through_the_chosen_probe(tmp_path: Path, firmware: Firmware, kind: str) -> None:
    tool = FakeTool(tmp_path, kind, good_answers(kind, len(CODE["stm32f746"])))
    report = flasher_of(kind, tool.path).flash(firmware)
    assert report.elf_sha256 == firmware.elf_sha256
    assert SERIAL in report.detail and kind in report.detail
    assert all(SERIAL in " ".join(call) for call in tool.arguments())


@pytest.mark.parametrize(
    ("kind", "answers", "says"),
    [
        ("openocd", [(OPENOCD_DIFFERS, 1)], "holds something else"),
        ("openocd", [("** Programming Finished **\n", 0)], "could not flash"),  # not verified
        ("st-flash", [(ST_FLASH_DIFFERS, 255)], "holds something else"),
        ("st-flash", [("INFO: Flash page erased\n", 0)], "could not flash"),
        ("pyocd", [("", 0), ("Mismatched byte at 0x08000004 (offset 0x4)\n", 0)], "something else"),
        ("pyocd", [("Error: Target type stm32f746zg not recognized.\n", 1)], "pyocd pack install"),
    ],
)
def test_nothing_counts_without_verification(
    tmp_path: Path, firmware: Firmware, kind: str, answers: list[tuple[str, int]], says: str
) -> None:
    tool = FakeTool(tmp_path, kind, answers)
    with pytest.raises(FlashError, match=says):
        flasher_of(kind, tool.path).flash(firmware)


HELD = {
    "openocd": "connect_assert_srst",
    "st-flash": "--connect-under-reset",
    "pyocd": "under-reset",
}


@pytest.mark.parametrize("kind", ["openocd", "st-flash", "pyocd"])
def test_a_target_that_does_not_answer_is_tried_under_reset_once(
    tmp_path: Path, firmware: Firmware, kind: str
) -> None:
    good = good_answers(kind, len(CODE["stm32f746"]))
    tool = FakeTool(tmp_path, kind, [(UNREACHABLE[kind], 1), *good])
    events: list[str] = []
    flasher_of(kind, tool.path, events=events).flash(firmware)
    assert len(events) == 1 and events[0].startswith("retry: ")  # never in silence
    first, second = (" ".join(call) for call in tool.arguments()[:2])
    assert HELD[kind] not in first and HELD[kind] in second


@pytest.mark.parametrize("kind", ["openocd", "st-flash", "pyocd"])
def test_twice_unreachable_is_an_error(tmp_path: Path, firmware: Firmware, kind: str) -> None:
    tool = FakeTool(tmp_path, kind, [(UNREACHABLE[kind], 1)] * 2)
    with pytest.raises(UnreachableError, match="the target does not answer"):
        flasher_of(kind, tool.path).flash(firmware)


# The tools' words when the probe is there and the board is not powered, held or wired wrongly:
# from public reports (OpenOCD 0.10 to 0.12, st-flash 1.3 to 1.7, pyOCD 0.2x) and their sources.
NO_TARGET = [
    (
        "openocd",
        "Info : Target voltage: 1.204813\nError: target voltage may be too low for reliable "
        "debugging\nError: init mode failed (unable to connect to the target)\n",
    ),
    ("openocd", "Error: jtag status contains invalid mode value - communication failure\n"),
    ("openocd", "Error: Error connecting DP: cannot read IDR\n"),
    ("openocd", "TARGET: stm32f7x.cpu - Not halted\n** Unable to reset target **\n"),
    (
        "st-flash",
        "WARN common.c: NRST is not connected\nERROR common.c: Soft reset failed: error write to "
        "AIRCR\nERROR common.c: Can not connect to target. Please use 'connect under reset' and "
        "try again\nFailed to connect to target\n",
    ),
    ("st-flash", "WARN common.c: unknown chip id! 0x5fa0004\nFailed to connect to target\n"),
    ("st-flash", "WARN src/common.c: unknown chip id! 0\n"),
    ("st-flash", "ERROR common.c: Target voltage (12 mV) too low for flash writes!\n"),
    ("pyocd", "0000670 C STLink error (9): Get IDCODE error [__main__]\n"),
    ("pyocd", "0000812 C STLink error (5): No device connected [__main__]\n"),
    ("pyocd", "0000345 C No cores were discovered! [__main__]\n"),
]


@pytest.mark.parametrize(("kind", "said"), NO_TARGET)
def test_no_target_is_no_failure_of_the_probe(
    tmp_path: Path, firmware: Firmware, kind: str, said: str
) -> None:
    tool = FakeTool(tmp_path, kind, [(said, 1)] * 2)
    with pytest.raises(TargetError) as caught:
        flasher_of(kind, tool.path).flash(firmware)
    assert Verdict.void(caught.value).who == "target"


# The probe is what fails; what follows about the target is only its echo.
NO_PROBE_EITHER = [
    ("openocd", "Error: open failed\nError: init mode failed (unable to connect to the target)\n"),
    ("openocd", "Error: libusb_open() failed with LIBUSB_ERROR_ACCESS\nError: open failed\n"),
    ("st-flash", "WARN usb.c: Couldn't find any ST-Link devices\nFailed to connect to target\n"),
    ("st-flash", "WARN common.c: unknown chip id! 0x451\n"),  # another chip's own number
    ("pyocd", "0000730 E No connected debug probe matches unique ID '1'\nNo ACK received\n"),
]


@pytest.mark.parametrize(("kind", "said"), NO_PROBE_EITHER)
def test_a_probe_that_fails_says_nothing_about_the_target(
    tmp_path: Path, firmware: Firmware, kind: str, said: str
) -> None:
    tool = FakeTool(tmp_path, kind, [(said, 1)] * 2)
    with pytest.raises(FlashError) as caught:
        flasher_of(kind, tool.path).flash(firmware)
    assert Verdict.void(caught.value).who == "flash"


@pytest.mark.parametrize("kind", ["openocd", "st-flash", "pyocd"])
def test_recover_holds_the_reset_line(tmp_path: Path, kind: str) -> None:
    tool = FakeTool(tmp_path, kind, [("", 0), ("", 0)])
    flasher = flasher_of(kind, tool.path)
    flasher.reset()
    flasher.recover()
    plain, held = (" ".join(call) for call in tool.arguments())
    assert HELD[kind] not in plain and HELD[kind] in held
    assert "reset" in plain and flasher.recovery == "reset under connect"


class TestState:
    def test_st_info_must_list_the_probe(self, tmp_path: Path) -> None:
        tool = FakeTool(tmp_path, "st-flash", [recorded("st_info_no_stlink")])
        info = tmp_path / "st-info"
        info.write_text(tool.path.read_text())
        info.chmod(0o755)
        with pytest.raises(FlashError, match="st-info sees: none"):
            flasher_of("st-flash", tool.path).state()

    def test_pyocd_must_list_the_probe(self, tmp_path: Path) -> None:
        answers = [recorded("pyocd_json_no_probe"), ("not json", 0)]
        flasher = flasher_of("pyocd", FakeTool(tmp_path, "pyocd", answers).path)
        with pytest.raises(FlashError, match="pyOCD sees: none"):
            flasher.state()
        with pytest.raises(FlashError, match="said 'not json'"):
            flasher.state()

    def test_openocd_names_what_it_has_found(self, tmp_path: Path) -> None:
        said = "Info : STLINK V2J37M26 (API v2) VID:PID 0483:374B\nInfo : Target voltage: 3.25\n"
        flasher = flasher_of("openocd", FakeTool(tmp_path, "openocd", [(said, 0)]).path)
        assert flasher.state() == (
            "openocd 0.12.0, STLINK V2J37M26 (API v2) VID:PID 0483:374B, Target voltage: 3.25"
        )


class TestGap8:
    def test_it_is_loaded_read_back_and_started_at_its_entry(self, tmp_path: Path) -> None:
        firmware = firmware_at(tmp_path, "gap8")
        tool = FakeTool(tmp_path, "openocd", [("started\n", 0)])
        # what dump_image would do
        copy = (
            'for w in "$@"; do case $w in *dump_image*) '
            "f=${w#*dump_image \\{}; f=${f%%\\}*};; esac; done\n"
        )
        code = tmp_path / "memory.bin"
        code.write_bytes(CODE["gap8"])
        script = tool.path.read_text()
        line = f'{copy}[ -n "$f" ] && cp {code} "$f"\n'
        tool.path.write_text(script.replace("cat answer", line + "cat answer"))
        report = flasher_of("openocd", tool.path, "gap8").flash(firmware)
        assert "read back and compared" in report.detail
        (call,) = tool.arguments()
        steps = call[-1].split("; ")
        assert steps[:2] == ["init", "halt"] and steps[-3:-1] == ["resume", "echo started"]
        assert "mww 0x1b302000 0x1c010000" in steps  # the ELF's entry, into NPC
        assert f"ftdi_serial {SERIAL}" in call
        code.write_bytes(b"x" * len(CODE["gap8"]))
        (tmp_path / "count").write_text("1\n")
        with pytest.raises(FlashError, match="L2 from 0x1c010000 on does not hold"):
            flasher_of_again(tool).flash(firmware)

    def test_a_ram_image_cannot_be_started_before_it_was_loaded(self, tmp_path: Path) -> None:
        flasher = flasher_of("openocd", FakeTool(tmp_path, "openocd", []).path, "gap8")
        with pytest.raises(FlashError, match="runs from RAM"):
            flasher.reset()


@pytest.fixture
def sdk_tools(tmp_path: Path) -> Path:
    """The files of the SDK's utils/openocd_tools that are asked for."""
    folder = tmp_path / "openocd tools"
    for name in (*SCRIPTS, FLASHER):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


class TestHyperFlash:
    """Words of success as a public log of an AI-deck's recovery expects them; none of ours."""

    DONE = "copied 777 / 777 Bytes\nflasher is done!\n"

    def flasher(self, folder: Path, tool: FakeTool, sdk_tools: Path, script: str) -> Flasher:
        wrapper = folder / "gap8-image"
        wrapper.write_text(f"#!/bin/sh\n{script}\n")
        wrapper.chmod(0o755)
        spec = FlasherSpec(
            "openocd", serial=SERIAL, interface="cable.cfg", target="gap8revb.tcl",
            program=str(tool.path), memory="hyperflash", image_tool=str(wrapper),
            sdk_tools=str(sdk_tools), timeout_s=5.0,
        )  # fmt: skip
        check_flasher(spec, "gap8", "rig")
        return open_flasher(spec, "gap8", lambda *_: None)

    WRAP = 'head -c 777 /dev/zero > "$2"; echo "$1" > "$(dirname "$0")/wrapped"'

    def test_the_elf_is_wrapped_and_written(self, tmp_path: Path, sdk_tools: Path) -> None:
        firmware = firmware_at(tmp_path, "gap8")
        tool = FakeTool(tmp_path, "openocd", [(self.DONE, 0), ("started\n", 0)])
        flasher = self.flasher(tmp_path, tool, sdk_tools, self.WRAP)
        report = flasher.flash(firmware)
        assert "reads nothing back" in report.detail
        assert (tmp_path / "wrapped").read_text().strip() == str(firmware.elf)
        flasher.reset()  # the program is still there: nothing is loaded again
        write, restart = tool.arguments()
        steps = write[-1].split("; ")
        assert steps[:2] == [f"script {{{sdk_tools}/{name}}}" for name in SCRIPTS]
        assert re.fullmatch(r"gap_flash_raw_hyper \{\S+\} 777 \{.*/openocd tools\}", steps[2])
        assert steps[3] == "exit" and f"ftdi_serial {SERIAL}" in write
        assert "drscan gap8.cpu 0x4 0x0; jtag_reset 0 0" in restart[-1]

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("could not connect to board, check your cables\n", "the flasher in L2 did not answer"),
            ("copied 512 / 777 Bytes\n", r"exit status 0, its last words: copied 512 / 777"),
        ],
    )
    def test_status_0_proves_nothing(
        self, tmp_path: Path, sdk_tools: Path, said: str, told: str
    ) -> None:
        tool = FakeTool(tmp_path, "openocd", [(said, 0)])
        with pytest.raises(FlashError, match=told):
            self.flasher(tmp_path, tool, sdk_tools, self.WRAP).flash(firmware_at(tmp_path, "gap8"))

    @pytest.mark.parametrize(
        ("script", "told"),
        [
            ("echo no gapy here; exit 3", "gap8-image could not flash .*status 3.*no gapy here"),
            ("exit 0", "ended well, but there is no image"),
        ],
    )
    def test_an_image_tool_that_fails(
        self, tmp_path: Path, sdk_tools: Path, script: str, told: str
    ) -> None:
        tool = FakeTool(tmp_path, "openocd", [])
        with pytest.raises(FlashError, match=told):
            self.flasher(tmp_path, tool, sdk_tools, script).flash(firmware_at(tmp_path, "gap8"))
        assert not tool.arguments(), "nothing was written"

    def test_another_folder_than_the_sdks(self, tmp_path: Path) -> None:
        tool = FakeTool(tmp_path, "openocd", [])
        with pytest.raises(FlashError, match=r"no tcl/flash_image\.tcl; .*sdk_tools"):
            self.flasher(tmp_path, tool, tmp_path, self.WRAP).flash(firmware_at(tmp_path, "gap8"))


def flasher_of_again(tool: FakeTool) -> Flasher:
    """Another session with the same fake, whose answers start over."""
    (tool.calls.parent / "count").write_text("0\n")
    return flasher_of("openocd", tool.path, "gap8")


class TestTools:
    def test_a_missing_tool_names_its_package(self) -> None:
        for kind, package in [
            ("openocd", "apt-get install openocd"),
            ("st-flash", "apt-get install stlink-tools"),
            ("pyocd", r"pip install 'hil-clio\[pyocd\]'"),
        ]:
            with pytest.raises(FlashError, match=f"no-such-tool is not installed .*{package}"):
                flasher_of(kind, "no-such-tool")

    def test_a_tool_that_hangs_is_stopped(self, tmp_path: Path, firmware: Firmware) -> None:
        tool = FakeTool(tmp_path, "openocd", [("Info : waiting\n", 0)])
        script = tool.path.read_text()
        tool.path.write_text(script.replace("exit $", "[ $n = 0 ] || sleep 600\nexit $"))
        spec = FlasherSpec("openocd", serial=SERIAL, program=str(tool.path), timeout_s=1.0)
        flasher = open_flasher(spec, "stm32f746", lambda *_: None)
        with pytest.raises(FlashError, match=r"not ended after 1 s .*last words: Info : waiting"):
            flasher.flash(firmware)

    def test_another_file_than_the_built_one(self, tmp_path: Path, firmware: Firmware) -> None:
        flasher = flasher_of("st-flash", FakeTool(tmp_path, "st-flash", []).path)
        with pytest.raises(FlashError, match="has changed since the build"):
            flasher.flash(replace(firmware, elf_sha256="00" * 32))
        with pytest.raises(FlashError, match="cannot read"):
            flasher.flash(replace(firmware, elf=tmp_path / "gone.elf"))
        with pytest.raises(FlashError, match="EM_RISCV"):
            flasher.flash(replace(firmware_at(tmp_path, "gap8"), board="stm32f746"))


@pytest.mark.parametrize(
    ("kind", "package"),
    [("openocd", "openocd"), ("st-flash", "stlink-tools"), ("pyocd", "pyocd")],
)
def test_the_real_tool_without_a_probe(firmware: Firmware, kind: str, package: str) -> None:
    beside = Path(sys.executable).with_name(kind)
    if not (shutil.which(kind) or beside.exists()):
        pytest.skip(f"{kind} is not installed ({package})")
    flasher = flasher_of(kind, kind)
    with pytest.raises(FlashError, match=f"no (ST-LINK|probe) {SERIAL} is connected"):
        flasher.flash(firmware)
    with pytest.raises(FlashError, match=f"no (ST-LINK|probe) {SERIAL} is connected"):
        flasher.state()
