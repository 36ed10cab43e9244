"""The boards, each described by the ``board.toml`` of its folder.

``load_board("stm32f746")`` reads and checks that file. A misspelt key, a missing one or a value
of the wrong kind is a RigError that names file, place and what is known there.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from hil.core.board import Board, Memory, PowerModel, Toolchain
from hil.core.errors import RigError

ROOT = Path(__file__).parent
COMMON = ROOT / "common"
# Board name (console, rig files, reports) -> folders here; a file of a later one replaces its
# namesake of an earlier one, so that chips of a family share their C.
FOLDERS = {
    "gap8": ("gap8",),
    "stm32f746": ("stm32f7",),
    "stm32f767": ("stm32f7", "stm32f767"),
}
BOARDS = tuple(FOLDERS)
MEMORY_USES = ("code", "weights", "data", "arena", "scratch", "stack")


def board_files(name: str) -> dict[str, Path]:
    """The files of a board by name; RigError lists the known boards."""
    if name not in FOLDERS:
        raise RigError(f"no board {name!r}; known: {', '.join(BOARDS)}")
    found: dict[str, Path] = {}
    for folder in FOLDERS[name]:
        found |= {file.name: file for file in sorted((ROOT / folder).iterdir()) if file.is_file()}
    return found


def load_board(name: str) -> Board:
    """The board of that name, from its board.toml."""
    board = read_board(board_files(name)["board.toml"])
    if board.name != name:
        raise RigError(f"board.toml of {name!r} calls itself {board.name!r}")
    return board


def read_board(path: Path) -> Board:
    """A board from a TOML file; RigError for anything that is not as ``hil.core.board`` says."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RigError(f"{path}: cannot read the board: {error}") from error
    place = path.name
    memories = tuple(
        _build(Memory, row, f"{place}: memory {i}") for i, row in enumerate(_rows(data, place))
    )
    parts = {
        "memories": memories,
        "toolchain": _build(Toolchain, _table(data, "toolchain", place), f"{place}: toolchain"),
        "power": _build(PowerModel, _table(data, "power", place), f"{place}: power"),
    }
    board = _build(Board, {**data, **parts}, place)
    _check_memories(board, place)
    return board


def _rows(data: dict[str, Any], place: str) -> list[Any]:
    rows = data.get("memories")
    if not isinstance(rows, list) or not rows:
        raise RigError(f"{place}: needs at least one [[memories]] table")
    return rows


def _table(data: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    table = data.get(key)
    if not isinstance(table, dict):
        raise RigError(f"{place}: needs a [{key}] table")
    return table


def _build(kind: type, row: Any, place: str) -> Any:
    """``kind(**row)`` with every key and type checked; lists become tuples."""
    if not isinstance(row, dict):
        raise RigError(f"{place}: must be a table, not {row!r}")
    known = {f.name: f for f in fields(kind)}
    for key in row:
        if key not in known:
            raise RigError(f"{place}: unknown key {key!r}; known: {', '.join(known)}")
    for name, spec in known.items():
        if name not in row and spec.default is MISSING and spec.default_factory is MISSING:
            raise RigError(f"{place}: key {name!r} is missing")
    hints = get_type_hints(kind)
    return kind(**{key: _value(row[key], hints[key], f"{place}: {key}") for key in row})


def _value(value: Any, wanted: Any, place: str) -> Any:
    if isinstance(value, list):
        value = tuple(value)
    if wanted is float and type(value) is int:
        return float(value)
    if wanted in (int, str, float) and type(value) is not wanted:
        raise RigError(f"{place}: {value!r} is not of type {wanted.__name__}")
    if wanted == tuple[str, ...] and not (
        isinstance(value, tuple) and all(isinstance(v, str) for v in value)
    ):
        raise RigError(f"{place}: {value!r} is not a list of strings")
    return value


def _check_memories(board: Board, place: str) -> None:
    for memory in board.memories:
        for use in memory.use:
            if use not in MEMORY_USES:
                raise RigError(
                    f"{place}: memory {memory.name}: unknown use {use!r}; "
                    f"known: {', '.join(MEMORY_USES)}"
                )
        if memory.reserved_bytes > memory.size_bytes:
            raise RigError(f"{place}: memory {memory.name}: reserves more than it has")
    for use in ("code", "weights", "arena", "scratch"):
        if not board.memories_for(use):
            raise RigError(f"{place}: no memory has the use {use!r}")
