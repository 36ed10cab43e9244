"""Rig files: the shipped ones load, and each kind of mistake is named."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from hil.core.errors import RigError
from hil.rig.bench import start
from hil.rig.rigfile import SHIPPED, known_names, load_bench, load_rig
from hil.rig.twin_process import TwinCommand, twin_command

GOOD = """
name = "mine"
board = "gap8"
[console]
port = "{dir}/console"
baud = 1_000_000
[flasher]
kind = "virtual"
control = "{dir}/control.sock"
[meter]
kind = "scpi_digitizer"
resource = "TCPIP0::127.0.0.1::{meter_port}::SOCKET"
sample_rate_hz = 100_000
range_a = 0.1
[virtual]
seed = 3
"""


def write(folder: Path, text: str, name: str = "mine") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def test_shipped_rigs_load() -> None:
    bench = load_bench("virtual")
    assert bench.name == "virtual"
    assert [rig.board for rig in bench.rigs] == ["gap8", "stm32f746"]
    for rig in bench.rigs:
        assert load_rig(rig.name) == rig
        assert rig.name == rig.path.stem and rig.virtual is not None and rig.slowdown > 1
    assert {path.stem for path in SHIPPED.glob("*.toml")} <= set(known_names())


def test_values_and_defaults(tmp_path: Path) -> None:
    rig = load_rig(write(tmp_path, GOOD))
    assert rig.console.baud == 1_000_000 and rig.console.answer_s == 2.0
    assert rig.meter.sample_rate_hz == 100_000.0 and rig.meter.serial == ""
    assert rig.virtual is not None and rig.virtual.seed == 3 and rig.slowdown == 1.0


def test_choices_of_a_twin_reach_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[virtual] core_v and data_cache; without them the command says nothing."""
    commands: list[Sequence[str]] = []

    class Twin:
        directory, meter_port, gdb_port = tmp_path, 1, 2

        def __init__(
            self, board: str, seed: int, start_s: float, command: TwinCommand, meter: str
        ) -> None:
            commands.append(command(board, tmp_path, seed, meter))

        def close(self) -> None:
            pass

    monkeypatch.setattr("hil.rig.bench.TwinProcess", Twin)
    for line in ("", "core_v = 1", "core_v = 1.15", 'data_cache = "lines"'):
        rig = load_rig(write(tmp_path, GOOD + line + "\n"))
        with ExitStack() as stack:
            start(rig, stack, twin_command)
    plain = list(twin_command("gap8", tmp_path, 3, "scpi_digitizer"))[-2:]
    assert commands[0][-2:] == plain
    assert [list(command[-2:]) for command in commands[1:]] == [
        ["--core-v", "1"], ["--core-v", "1.15"], ["--data-cache", "lines"],
    ]  # fmt: skip
    with pytest.raises(RigError, match=r"\[virtual\] core_v: '1\.0' is not a number"):
        load_rig(write(tmp_path, GOOD + 'core_v = "1.0"\n'))


def test_lost_samples_are_refused_unless_a_rig_accepts_some(tmp_path: Path) -> None:
    assert load_rig(write(tmp_path, GOOD)).meter.lost_samples_per_million == 0.0
    told = GOOD.replace("range_a = 0.1", "range_a = 0.1\nlost_samples_per_million = {}")
    text = told.replace("{dir}", "{{dir}}").replace("{meter_port}", "{{meter_port}}")
    assert load_rig(write(tmp_path, text.format(50))).meter.lost_samples_per_million == 50.0
    for wrong in (-1, 20_000):
        with pytest.raises(RigError, match=r"lost_samples_per_million: .* between 0 and 10000"):
            load_rig(write(tmp_path, text.format(wrong)))


def test_local_folder_and_benches_of_its_rigs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rigs").mkdir()
    write(tmp_path / "rigs", GOOD)
    write(tmp_path / "rigs", 'name = "both"\nrigs = ["mine", "virtual-gap8"]', "both")
    monkeypatch.chdir(tmp_path)
    assert [rig.name for rig in load_bench("both").rigs] == ["mine", "virtual-gap8"]
    with pytest.raises(RigError, match="bench of 2 rigs; name one of: mine, virtual-gap8"):
        load_rig("both")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "baud",
            "bauds",
            r"\[console\]: unknown key 'bauds' \(did you mean 'baud'\?\); known: port",
        ),
        ("[meter]", "[metre]", r"unknown key 'metre' \(did you mean 'meter'\?\)"),
        ("seed = 3", "sede = 3", r"\[virtual\]: unknown key 'sede' \(did you mean 'seed'\?\)"),
        ('board = "gap8"', 'board = "gap9"', r"board: no 'gap9' \(did you mean 'gap8'\?\); known"),
        ('board = "gap8"', "", "missing board"),
        ("range_a = 0.1", "", r"\[meter\]: missing range_a"),
        ("1_000_000", '"fast"', r"\[console\] baud: 'fast' is not a whole number"),
        ("1_000_000", "1e6", "not a whole number"),
        ("1_000_000", "true", "not a whole number"),
        ("1_000_000", "0", r"\[console\] baud: 0 is not a number above 0"),
        ("range_a = 0.1", "range_a = -1", r"range_a: -1.0 is not a number above 0"),
        ("range_a = 0.1", "range_a = nan", "not a number above 0"),
        ("seed = 3", "seed = -3", "seed: -3 is negative"),
        ("{dir}/console", "{folder}/console", r"only \{dir\}, \{meter_port\} and \{gdb_port\}"),
        ("[virtual]\nseed = 3", "", r"are a twin's; add a \[virtual\] table"),
        ('"virtual"', '"virtul"', r"no 'virtul' \(did you mean 'virtual'\?\)"),
        ('"scpi_digitizer"', '"ppk3"', r"no 'ppk3' \(did you mean 'ppk2'\?\)"),
        ('"scpi_digitizer"', '"rigol_ds1000z"', r"\[meter.options\]: missing shunt_ohms, supply_v"),
        ("range_a = 0.1", 'range_a = 0.1\ncalibration = "yes"', "no 'yes'; known: none, required"),
        ("[virtual]", "[virtual", "cannot read the rig"),
        ('name = "mine"', "name = 3", "name: 3 is not a text"),
        ('name = "mine"', "console = 3", r"missing name|\[console\]|cannot read"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(RigError, match=says) as caught:
        load_rig(path)
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "b"\nrigs = []', "not a list of rig names"),
        ('name = "b"\nrigs = "virtual-gap8"', "not a list of rig names"),
        ('name = "b"\nrigs = ["virtual-gap8", "virtual-gap8"]', "twice"),
        ('name = "b"\nrigs = ["virtual-gap"]', r"did you mean 'virtual-gap8'"),
        ('name = "b"\nrigs = ["virtual"]', "bench of 2 rigs"),
        ('name = "b"\nrigs = ["virtual-gap8"]\nboard = "gap8"', "unknown key 'board'"),
    ],
)
def test_mistakes_of_a_bench(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RigError, match=says):
        load_bench(write(tmp_path, text, "b"))


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(RigError, match=r"did you mean 'virtual'.*virtual-gap8"):
        load_bench("virtuel")
    with pytest.raises(RigError, match="does not exist"):
        load_bench("virtuel.toml")


def test_two_files_with_one_name_are_no_bench(tmp_path: Path) -> None:
    for stem in ("one", "two"):
        write(tmp_path, GOOD, stem)
    bench = write(tmp_path, 'name = "lab"\nrigs = ["one", "two"]', "lab")
    with pytest.raises(RigError, match=r"one\.toml and .*two\.toml have the same name = 'mine'"):
        load_bench(bench)


@pytest.mark.parametrize("text", [GOOD, 'name = "mine"\nrigs = ["virtual-gap8"]'])
def test_an_empty_name_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RigError, match="name = ' ' is empty"):
        load_bench(write(tmp_path, text.replace('"mine"', '" "')))
