"""[meter.options] of rig files: read by the kind of meter, each mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.core.errors import RigError
from hil.rig.meter_options import JoulescopeOptions, Lpm01aOptions, Ppk2Options
from hil.rig.rigfile import Rig, load_rig

RIG = """
name = "desk"
board = "gap8"
[console]
port = "/dev/ttyUSB0"
baud = 1_000_000
[flasher]
kind = "virtual"
control = "/tmp/control.sock"
[meter]
kind = "{kind}"
resource = "usb:F5BC3E7B"
sample_rate_hz = 1000
range_a = 0.05
"""


def load(folder: Path, kind: str, options: str) -> Rig:
    path = folder / "desk.toml"
    path.write_text(RIG.format(kind=kind) + options)
    return load_rig(str(path))


def test_each_kind_has_its_own(tmp_path: Path) -> None:
    rig = load(tmp_path, "ppk2", '[meter.options]\nsupply_v = 3\nmode = "ampere"')
    assert rig.meter.options == Ppk2Options(3.0, "ampere", 0, "settled")
    rig = load(tmp_path, "lpm01a", "[meter.options]\nsupply_v = 1.8")
    assert rig.meter.options == Lpm01aOptions(1.8, "none")
    assert load(tmp_path, "joulescope", "").meter.options == JoulescopeOptions(0, 3.3)
    assert load(tmp_path, "scpi_digitizer", "").meter.options is None


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("ppk2", "", r"\[meter.options\]: missing supply_v"),
        ("keithley_dmm6500", "", r"\[meter.options\]: missing supply_v"),
        (
            "keithley_dmm6500",
            "supply_v = 3\nmarker_latency_us = -1",
            "us: -1 is not from 0",
        ),
        ("ppk2", "supply_v = 5.5", r"\[meter.options\] supply_v: 5.5 is not from 0.8 to 5"),
        ("ppk2", 'supply_v = 3\nmode = "smu"', "mode: 'smu' is none of: source, ampere"),
        ("ppk2", "supply_v = 3\nmarker = 8", "marker: 8 is not from 0 to 7"),
        ("ppk2", "supply_v = 3\nmarker = 0.5", "marker: 0.5 is not a whole number"),
        ("ppk2", 'supply_v = 3\nspike_filter = "on"', "spike_filter: 'on' is none of"),
        ("ppk2", "supply_w = 3", r"unknown key 'supply_w' \(did you mean 'supply_v'\?\)"),
        ("lpm01a", "supply_v = 5", "supply_v: 5 is not from 1.8 to 3.3"),
        ("lpm01a", 'supply_v = 3\nmarker = "d7"', "marker: 'd7' is none of: none, events"),
        ("joulescope", "marker = 4", "marker: 4 is not from 0 to 3"),
        ("scpi_digitizer", "marker = 4", "a meter of kind 'scpi_digitizer' has none"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, kind: str, options: str, says: str) -> None:
    with pytest.raises(RigError, match=says) as caught:
        load(tmp_path, kind, f"[meter.options]\n{options}" if options else "")
    assert "desk.toml" in str(caught.value)


def test_options_are_a_table(tmp_path: Path) -> None:
    with pytest.raises(RigError, match=r"\[meter.options\] is a table, not 3"):
        load(tmp_path, "ppk2", "options = 3")
