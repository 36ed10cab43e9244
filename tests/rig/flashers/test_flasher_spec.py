"""What a [flasher] table may hold, for each kind and board."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hil.core.errors import RigError
from hil.rig.flasher_spec import FlasherSpec
from hil.rig.rigfile import load_rig

RIG = """
name = "mine"
board = "{board}"
[console]
port = "/dev/ttyACM0"
baud = 1_000_000
[flasher]
{flasher}
[meter]
kind = "scpi_digitizer"
resource = "TCPIP0::10.0.0.1::5025::SOCKET"
sample_rate_hz = 100_000
range_a = 1.0
"""
STM32, GAP8 = "stm32f746", "gap8"


def load(folder: Path, board: str, flasher: str, more: str = "") -> FlasherSpec:
    path = folder / "mine.toml"
    path.write_text(RIG.format(board=board, flasher=flasher) + more)
    return load_rig(str(path)).flasher


@pytest.mark.parametrize(
    ("board", "flasher"),
    [
        (STM32, 'kind = "openocd"\nserial = "066AFF"'),
        (STM32, 'kind = "openocd"\nserial = "066AFF"\nprogram = "/opt/o p/openocd"'),
        (STM32, 'kind = "pyocd"\nserial = "066AFF"\ntarget = "stm32f746zgtx"'),
        (STM32, 'kind = "st-flash"\nserial = "066AFF"'),
        (STM32, 'kind = "gdb"\nserver = "localhost:3333"'),
        (GAP8, 'kind = "gdb"\nserver = "localhost:3333"'),
        (GAP8, 'kind = "openocd"\nlocation = "1:2,3"\ninterface = "i.cfg"\ntarget = "t.tcl"'),
    ],
)
def test_good_tables(tmp_path: Path, board: str, flasher: str) -> None:
    spec = load(tmp_path, board, flasher)
    assert {key: getattr(spec, key) for key in tomllib.loads(flasher)} == tomllib.loads(flasher)


@pytest.mark.parametrize(
    ("board", "flasher", "says"),
    [
        (STM32, 'kind = "openocd"', "openocd needs serial"),
        (STM32, 'kind = "opencd"\nserial = "1"', r"no 'opencd' \(did you mean 'openocd'\?\)"),
        (STM32, 'kind = "gdb"', "gdb needs server"),
        (STM32, 'kind = "gdb"\nserver = "localhost"', "not host:port"),
        (STM32, 'kind = "gdb"\nserver = "a:1"\nserial = "1"', "serial: gdb does not use it"),
        (STM32, 'kind = "st-flash"\nserial = "1"\ncontrol = "x"', "control: st-flash does not use"),
        (STM32, 'kind = "virtual"', "virtual needs control"),
        (GAP8, 'kind = "pyocd"\nserial = "1"', "pyocd cannot flash a gap8; what can: virtual, gdb"),
        (GAP8, 'kind = "openocd"\nserial = "1"', "openocd needs interface, target"),
        (GAP8, 'kind = "openocd"\ninterface = "i"\ntarget = "t"', "needs serial or location"),
        (
            GAP8,
            'kind = "openocd"\nserial = "1"\ninterface = "i"\ntarget = "t"\nmemory = "hyperflash"',
            "image_tool and memory = 'hyperflash' go together",
        ),
        (STM32, 'kind = "openocd"\nserial = "1; shutdown"', "holds a character that no serial has"),
        (STM32, 'kind = "st-flash"\nserial = "--opt"', "holds a character"),
        (STM32, 'kind = "openocd"\nserial = "1"\ntimeout_s = 0', "not a number above 0"),
        (STM32, 'kind = "gdb"\nserver = "127.0.0.1:{gdb_port}"', r"are a twin's"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, board: str, flasher: str, says: str) -> None:
    with pytest.raises(RigError, match=says) as caught:
        load(tmp_path, board, flasher)
    assert "mine.toml" in str(caught.value)


def test_a_twin_has_no_usb(tmp_path: Path) -> None:
    with pytest.raises(RigError, match=r"kinds for a rig with \[virtual\] are virtual and gdb"):
        load(tmp_path, STM32, 'kind = "openocd"\nserial = "1"', "[virtual]\nseed = 1\n")
