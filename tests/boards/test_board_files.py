"""board.toml of every board, and what a wrong one is told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

import boards
from hil.core.errors import RigError

STM32 = (boards.ROOT / "stm32f7" / "board.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", boards.BOARDS)
def test_shipped_boards_load(name: str) -> None:
    board = boards.load_board(name)
    assert board.name == name
    assert {*board.sources, board.toolchain.linker_script} <= set(boards.board_files(name))
    spans = sorted((m.base, m.base + m.size_bytes) for m in board.memories)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_stm32_memories_are_those_of_the_manual() -> None:
    board = boards.load_board("stm32f746")
    assert {m.name: (m.base, m.size_bytes) for m in board.memories} == {
        "flash": (0x08000000, 1 << 20),  # RM0385 table 4
        "sram": (0x20010000, 256 << 10),  # SRAM1 240 KB and SRAM2 16 KB
        "dtcm": (0x20000000, 64 << 10),
    }


def test_the_f767_has_more_of_each() -> None:
    board = boards.load_board("stm32f767")
    assert {m.name: (m.base, m.size_bytes) for m in board.memories} == {
        "flash": (0x08000000, 2 << 20),
        "sram": (0x20020000, 384 << 10),  # SRAM1 368 KB and SRAM2 16 KB
        "dtcm": (0x20000000, 128 << 10),
    }
    files = boards.board_files("stm32f767")
    assert files["variant.h"].parent.name == "stm32f767"
    assert files["clock.c"].parent.name == "stm32f7"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cores = 1", "kores = 1", "board.toml: unknown key 'kores'; known: name, chip"),
        ("cores = 1", "", "board.toml: key 'cores' is missing"),
        ("cores = 1", "cores = true", "board.toml: cores: True is not of type int"),
        ("[power]", "[powder]", r"needs a \[power\] table"),
        ('use = ["arena"]', 'use = ["arema"]', "memory sram: unknown use 'arema'"),
        ('use = ["arena"]', 'use = "arena"', "memory 1: use: 'arena' is not a list of strings"),
        ("reserved_bytes = 0x4800", "reserved_bytes = 0x14800", "memory dtcm: reserves more"),
        ('use = ["code", "weights"]', 'use = ["code"]', "no memory has the use 'weights'"),
        ("cores = 1", "cores = ", "cannot read the board"),
    ],
)
def test_wrong_files_are_told_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in STM32
    path = tmp_path / "board.toml"
    path.write_text(STM32.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RigError, match=message):
        boards.read_board(path)


def test_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(RigError, match="no board 'esp32'; known: gap8, stm32f746"):
        boards.load_board("esp32")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="cannot read the board"):
        boards.read_board(tmp_path / "board.toml")
