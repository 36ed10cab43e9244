"""Finds a C compiler for a board: an installed vendor GCC, else clang of the ziglang wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from hil.core.board import Board
from hil.core.errors import BuildError

CHOICES = ("auto", "gcc", "zig")
VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Compiler:
    """A compiler for one board. ``identity`` is what a build id needs: family and version."""

    family: str
    identity: str
    command: tuple[str, ...]
    flags: tuple[str, ...]


def cache_root() -> Path:
    """Where builds and the compiler's own objects are kept.

    ``HIL_CACHE`` if set, else ``hil`` below the user's cache folder (``XDG_CACHE_HOME`` or
    ``~/.cache``): compiled runtime libraries are shared by all checkouts.
    """
    own = os.environ.get("HIL_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hil"


def find_compiler(board: Board, toolchain: str = "auto") -> Compiler:
    """The compiler to use; BuildError says what was looked for and how to get one."""
    if toolchain not in CHOICES:
        raise BuildError(f"unknown toolchain {toolchain!r}; known: {', '.join(CHOICES)}")
    if toolchain in ("auto", "gcc"):
        for name in board.toolchain.gcc_names:
            path = shutil.which(name)
            if path:
                return _gcc(board, name, path)
        if toolchain == "gcc":
            names = ", ".join(board.toolchain.gcc_names)
            raise BuildError(f"{board.name}: none of {names} is on PATH; install one or use zig")
    return _zig(board)


def compiler_environment() -> dict[str, str]:
    """The process environment, with zig's caches inside ours and English messages."""
    zig_cache = str(cache_root() / "zig")
    return {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": zig_cache,
        "ZIG_LOCAL_CACHE_DIR": zig_cache,
        "LC_ALL": "C",
    }


def _gcc(board: Board, name: str, path: str) -> Compiler:
    try:
        shown = subprocess.run(
            [path, "-dumpfullversion"],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{board.name}: {name} does not run: {error}") from error
    identity = f"{name} {shown.stdout.strip()}"
    return Compiler("gcc", identity, (path,), board.toolchain.gcc_flags)


def _zig(board: Board) -> Compiler:
    try:
        release = version("ziglang")
    except PackageNotFoundError as error:
        names = ", ".join(board.toolchain.gcc_names)
        raise BuildError(
            f"{board.name}: no compiler: none of {names} on PATH and the ziglang package is not "
            "installed; pip install ziglang"
        ) from error
    if find_spec("ziglang") is None:
        raise BuildError(f"ziglang {release} is registered but cannot be imported; reinstall it")
    command = (sys.executable, "-m", "ziglang", "cc")
    return Compiler("zig", f"zig cc {release}", command, board.toolchain.zig_flags)
