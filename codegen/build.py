"""Sources + board -> ELF, with a digest, a memory map and a cache.

Everything that goes into an image is first laid out in one folder (``generated/``, ``board/``,
``common/``) and compiled there by relative paths, so that no path of the machine enters the
image and the folder can be read, or built by hand, as it is. ``build_id`` is the SHA-256 over
all these files, flags and compiler version; the firmware carries it and the cache is keyed by it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import boards
from codegen.generate import Console, Sources
from codegen.memory_map import memory_use
from codegen.render import render
from codegen.toolchain import Compiler, cache_root, compiler_environment, find_compiler
from hil.core.board import Board
from hil.core.errors import BuildError, PlanError
from hil.core.firmware import Firmware

ELF_NAME = "firmware.elf"
COMPILE_TIMEOUT_S = 600.0
ERROR_LINES = 6
TELLING = r"\berror\b|undefined reference|undefined symbol|cannot find"  # not warnings, not notes
BYTES_A_ROW = 8


def build(sources: Sources, board: Board, out_dir: Path, toolchain: str = "auto") -> Firmware:
    """Compiles into ``out_dir`` (made if missing; its sources and ELF are replaced).

    Raises BuildError with the compiler's first error lines, PlanError when the linker finds that
    the image does not fit a memory.
    """
    if sources.board != board.name:
        raise BuildError(f"sources are for {sources.board}, asked to build for {board.name}")
    compiler = find_compiler(board, toolchain)
    tree = source_tree(sources, board)
    build_id = digest_tree(tree, compiler, board)
    tree["generated/build_id.c"] = build_id_source(build_id).encode()
    _write_tree(tree, out_dir)
    elf = out_dir / ELF_NAME
    cached = cache_root() / "firmware" / board.name / build_id / ELF_NAME
    if not cached.exists():
        _compile(sorted(tree), compiler, board, out_dir)
        _keep(elf, cached)
    else:
        shutil.copyfile(cached, elf)
    return Firmware(
        board=board.name,
        elf=elf,
        build_id=build_id,
        elf_sha256=hashlib.sha256(elf.read_bytes()).hexdigest(),
        toolchain=compiler.identity,
        network=sources.network,
        network_digest=sources.network_digest,
        layers=sources.layers,
        memory_use=memory_use(elf, board),
    )


def source_tree(sources: Sources, board: Board) -> dict[str, bytes]:
    """Relative path -> content of every file of the image, but for build_id.c."""
    tree = {f"generated/{name}": text.encode() for name, text in sources.files.items()}
    others = {
        name for console in Console if console is not sources.console for name in console.value
    }
    common = {file.name: file for file in boards.COMMON.iterdir()}
    for folder, files in (("common", common), ("board", boards.board_files(board.name))):
        for name, file in sorted(files.items()):
            if file.suffix in (".c", ".h", ".S", ".ld") and name not in others:
                tree[f"{folder}/{name}"] = file.read_bytes()
    for name in (*board.sources, board.toolchain.linker_script):
        if f"board/{name}" not in tree:
            raise BuildError(f"{board.name}: board.toml names {name}, which is not in its folder")
    return tree


def digest_tree(tree: dict[str, bytes], compiler: Compiler, board: Board) -> str:
    """SHA-256 over names, contents, flags and compiler version."""
    sha = hashlib.sha256()
    for part in (compiler.identity, *compiler.flags, *board.sources, board.toolchain.entry):
        sha.update(part.encode() + b"\0")
    for name in sorted(tree):
        sha.update(f"{name}\0{len(tree[name])}\0".encode())
        sha.update(tree[name])
    return sha.hexdigest()


def build_id_source(build_id: str) -> str:
    """Text of build_id.c."""
    octets = [f"0x{byte:02x}" for byte in bytes.fromhex(build_id)]
    rows = [octets[i : i + BYTES_A_ROW] for i in range(0, len(octets), BYTES_A_ROW)]
    return render("common/build_id.c.j2", rows=rows)


def command_line(tree: list[str], compiler: Compiler, board: Board) -> list[str]:
    """One compiler call, run in the folder of the tree, that makes ``firmware.elf``."""
    compiled = [
        name
        for name in tree
        if name.endswith((".c", ".S"))
        and (not name.startswith("board/") or name.removeprefix("board/") in board.sources)
    ]
    return [
        *compiler.command,
        *compiler.flags,
        "-Icommon",
        "-Iboard",
        "-Igenerated",
        *compiled,
        "-T",
        f"board/{board.toolchain.linker_script}",
        f"-Wl,-e,{board.toolchain.entry}",
        "-o",
        ELF_NAME,
    ]


def _write_tree(tree: dict[str, bytes], out_dir: Path) -> None:
    """Writes the tree and nothing else below its three folders: no file of an older build stays."""
    for folder in ("generated", "board", "common"):
        shutil.rmtree(out_dir / folder, ignore_errors=True)
        (out_dir / folder).mkdir(parents=True)
    (out_dir / ELF_NAME).unlink(missing_ok=True)
    for name, content in tree.items():
        (out_dir / name).write_bytes(content)


def _compile(tree: list[str], compiler: Compiler, board: Board, out_dir: Path) -> None:
    command = command_line(tree, compiler, board)
    try:
        done = subprocess.run(
            command,
            cwd=out_dir,
            env=compiler_environment(),
            capture_output=True,
            text=True,
            timeout=COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"{board.name}: {compiler.identity} took longer than {COMPILE_TIMEOUT_S:.0f} s"
        ) from error
    except OSError as error:
        raise BuildError(f"{board.name}: {compiler.identity} does not start: {error}") from error
    if done.returncode != 0:
        raise _refusal(done.stderr, done.returncode, compiler, board)


def _refusal(stderr: str, status: int, compiler: Compiler, board: Board) -> Exception:
    overflow = re.search(r"region [`']?(\w+)'?:? overflowed by (\d+) bytes", stderr)
    if overflow:
        memory = overflow.group(1).lower()
        return PlanError(
            f"{board.name}: the image overflows memory {memory} by {overflow.group(2)} bytes: this "
            "compiler's code is larger than the planner allowed for; raise reserved_bytes of that "
            "memory in board.toml, or cut the network earlier"
        )
    lines = stderr.splitlines()
    telling = [line for line in lines if re.search(TELLING, line)] or lines
    shown = "\n".join(telling[:ERROR_LINES])
    return BuildError(f"{board.name}: {compiler.identity} failed with status {status}:\n{shown}")


def _keep(elf: Path, cached: Path) -> None:
    """Into the cache by one rename: two builds of the same image may end together."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=cached.parent, suffix=".part")
    os.close(handle)
    shutil.copyfile(elf, name)
    Path(name).replace(cached)
