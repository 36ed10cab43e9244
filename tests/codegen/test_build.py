"""Compiling: digests, cache, memory map, errors. Needs a compiler: the ziglang wheel is enough."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

import boards
import codegen.build
from codegen.build import build
from codegen.generate import Sources, generate
from codegen.toolchain import cache_root, find_compiler
from hil.core.errors import BuildError, PlanError
from hil.core.network import Op
from hil.nn.random_layers import random_network

BOARD = boards.load_board("stm32f746")
NETWORK = random_network(Op.POINTWISE, 4, 4, 8, 8)
LAYER_FILE = "layer_00_under_test.c"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty firmware cache that still shares the compiler's own (its first link takes 6 s)."""
    shared, own = cache_root(), tmp_path / "cache"
    own.mkdir()
    (shared / "zig").mkdir(parents=True, exist_ok=True)
    (own / "zig").symlink_to(shared / "zig")
    monkeypatch.setenv("HIL_CACHE", str(own))
    return own


def sources_with(files: dict[str, str]) -> Sources:
    sources = generate(NETWORK, BOARD)
    return replace(sources, files={**sources.files, **files})


def test_same_sources_give_the_same_elf_anywhere(own_cache, tmp_path, monkeypatch) -> None:
    first = build(generate(NETWORK, BOARD), BOARD, tmp_path / "one")
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "other_cache"))
    (tmp_path / "other_cache").mkdir()
    (tmp_path / "other_cache" / "zig").symlink_to(own_cache / "zig")
    second = build(generate(NETWORK, BOARD), BOARD, tmp_path / "deeper" / "two")
    assert first.build_id == second.build_id
    assert first.elf_sha256 == second.elf_sha256
    assert first.elf_sha256 == hashlib.sha256(second.elf.read_bytes()).hexdigest()
    assert bytes.fromhex(first.build_id) in first.elf.read_bytes()
    assert str(tmp_path).encode() not in first.elf.read_bytes()


def test_second_build_comes_from_the_cache(own_cache, tmp_path, monkeypatch) -> None:
    first = build(generate(NETWORK, BOARD), BOARD, tmp_path / "one")

    def refuse(*_args: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(codegen.build, "_compile", refuse)
    second = build(generate(NETWORK, BOARD), BOARD, tmp_path / "two")
    assert second == replace(first, elf=second.elf)
    assert (tmp_path / "two" / "generated" / "network.c").exists()


def test_a_changed_source_changes_the_build_id(own_cache, tmp_path) -> None:
    first = build(generate(NETWORK, BOARD), BOARD, tmp_path / "one")
    changed = sources_with({"extra.c": "/* nothing */\n"})
    assert build(changed, BOARD, tmp_path / "one").build_id != first.build_id


def test_memory_map_adds_up(tmp_path) -> None:
    sources = generate(NETWORK, BOARD)
    firmware = build(sources, BOARD, tmp_path)
    use = {u.memory: u for u in firmware.memory_use}
    assert use["sram"].used_bytes == sources.arena.used_bytes["sram"]
    assert use["dtcm"].used_bytes > 8192 + sources.scratch_bytes  # stack and scratch at least
    assert sources.weight_bytes < use["flash"].used_bytes < 20_000
    assert use["flash"].size_bytes == 1 << 20


def test_compiler_errors_are_shown(own_cache, tmp_path) -> None:
    with pytest.raises(BuildError, match=r"(?s)stm32f746: .* failed .*generated/bad.c:1:.*error"):
        build(sources_with({"bad.c": "int x = ;\n"}), BOARD, tmp_path)
    text = generate(NETWORK, BOARD).files[LAYER_FILE]
    calls = text.replace("uint32_t mark", "void absent(void);\n    absent();\n    uint32_t mark")
    with pytest.raises(BuildError, match=r"(?s)failed with status.*undefined.*absent"):
        build(sources_with({LAYER_FILE: calls}), BOARD, tmp_path)


def test_an_image_that_outgrows_a_memory_is_a_plan_error(own_cache, tmp_path) -> None:
    files = generate(NETWORK, BOARD).files
    grown = {
        name: re.sub(r"arena_sram\[\d+\]", "arena_sram[300000]", files[name])
        for name in ("network.c", "layers.h")
    }
    with pytest.raises(PlanError, match=r"overflows memory sram by 37856 bytes"):
        build(sources_with(grown), BOARD, tmp_path)


def test_sources_of_another_board_are_refused(tmp_path) -> None:
    with pytest.raises(BuildError, match="sources are for gap8"):
        build(replace(generate(NETWORK, BOARD), board="gap8"), BOARD, tmp_path)


def test_no_compiler_says_what_was_looked_for(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match="none of arm-none-eabi-gcc is on PATH"):
        find_compiler(BOARD, "gcc")
    with pytest.raises(BuildError, match="unknown toolchain 'clang'; known: auto, gcc, zig"):
        find_compiler(BOARD, "clang")
    assert find_compiler(BOARD).family == "zig"


def test_installed_gcc_is_preferred_and_versioned(tmp_path, monkeypatch) -> None:
    fake = tmp_path / "arm-none-eabi-gcc"
    fake.write_text("#!/bin/sh\necho 13.2.1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    compiler = find_compiler(BOARD)
    assert (compiler.family, compiler.identity) == ("gcc", "arm-none-eabi-gcc 13.2.1")
