"""Compiled simulator code is kept on disk: a stale one must never be used.

numba itself asks whether the file that holds a cached function has changed, whether another numba
or Python made it, and for which processor. What that file calls elsewhere it does not see; here
it is checked that a digest of all sources is in the key.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import hil.sim
from hil.sim.cores.cortex_m7 import native, native_art, native_data
from hil.sim.cores.cortex_m7 import source_digest as cortex_m7
from hil.sim.cores.xpulp.source_digest import SOURCE_DIGEST
from hil.sim.socs.gap8 import engine

SIM = Path(hil.sim.__file__).parent if hil.sim.__file__ else Path(hil.sim.__path__[0])
GAP8_FOLDERS = ("cores/xpulp", "socs/gap8")
PRINT = "from hil.sim.cores.xpulp.source_digest import SOURCE_DIGEST; print(SOURCE_DIGEST)"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our sources of the GAP8's engine in a tree of their own."""
    root = tmp_path_factory.mktemp("sources")
    for package in ("hil", "hil/sim"):
        (root / package).mkdir()
        (root / package / "__init__.py").touch()
    for folder in GAP8_FOLDERS:
        shutil.copytree(SIM / folder, root / "hil/sim" / folder)
    for package in ("hil/sim/cores", "hil/sim/socs"):
        (root / package / "__init__.py").touch()
    return root


def _digest(root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRINT], cwd=root, check=True, capture_output=True, text=True,
        env={"PYTHONPATH": str(root)},
    )  # fmt: skip
    return done.stdout.strip()


def test_a_change_of_any_source_changes_the_digest(copy: Path) -> None:
    assert _digest(copy) == SOURCE_DIGEST
    for name in ("cores/xpulp/simd.py", "socs/gap8/timing.py"):
        file = copy / "hil/sim" / name
        text = file.read_text()
        file.write_text(text + "\n# changed\n")
        assert _digest(copy) != SOURCE_DIGEST
        file.write_text(text)
    (copy / "hil/sim/socs/gap8/new.py").write_text("X = 1\n")
    assert _digest(copy) != SOURCE_DIGEST


def test_the_digest_is_part_of_the_key() -> None:
    signature = numba.types.void()

    def key(digest: str) -> object:
        run = engine._make_run(digest)
        return run._cache._index_key(signature, run.targetctx.codegen())

    assert key("one") == key("one")
    assert key("one") != key("other")
    assert key(SOURCE_DIGEST) == engine.run._cache._index_key(
        signature, engine.run.targetctx.codegen()
    )


def test_versions_are_part_of_the_key() -> None:
    cache = engine.run._cache
    assert cache._cache_file._version == numba.__version__
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    assert python in cache._impl.filename_base


def test_whatever_is_cached_has_the_digest_or_stands_alone() -> None:
    """A file with cached functions calls compiled code of no other file, or knows the digest."""
    cached = [path for path in SIM.rglob("*.py") if "cache=True" in path.read_text()]
    assert SIM / "socs/gap8/engine.py" in cached
    for path in cached:
        if "SOURCE_DIGEST" in path.read_text():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("hil."), (path, node.module)


def test_sources_of_the_digest_are_all_that_the_engine_compiles() -> None:
    """Compiled functions of the GAP8's engine come from the two folders that the digest reads."""
    for folder in GAP8_FOLDERS:
        for path in (SIM / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom) or not node.module:
                    continue
                if not node.module.startswith("hil.sim."):
                    continue
                source = SIM.parent.parent / (node.module.replace(".", "/") + ".py")
                inside = any((SIM / each) in source.parents for each in GAP8_FOLDERS)
                if source.is_file() and not inside:
                    assert "njit" not in source.read_text(), (path, node.module)


def test_the_digest_of_the_cortex_m7_covers_all_that_it_compiles() -> None:
    """What is compiled there, and what that imports, is in the list of files."""
    folder = SIM / "cores/cortex_m7"
    for path in folder.glob("*.py"):
        if "numba" not in path.read_text() and path.name not in cortex_m7.COMPILED:
            continue
        if path.name == "source_digest.py":
            continue
        assert path.name in cortex_m7.COMPILED
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hil."):
                names = [f"{(node.module or '').split('.')[-1]}.py"]
                if names == ["cortex_m7.py"]:
                    names = [f"{alias.name}.py" for alias in node.names]
                assert set(names) <= {*cortex_m7.COMPILED, "source_digest.py"}, (path, names)


@pytest.mark.parametrize(
    "function",
    [native.on_block._pyfunc, native.on_dwt_read._pyfunc, native.flush_bins.py_func,
     native_data.on_instruction._pyfunc, native_art.on_port_fetch._pyfunc,
     native_art.on_port_load._pyfunc],
)  # fmt: skip
def test_the_hooks_of_the_cortex_m7_are_bound_to_their_digest(function: object) -> None:
    """numba's key has what a function is bound to, as shown above for the GAP8."""
    cells = function.__closure__  # type: ignore[attr-defined]
    assert [cell.cell_contents for cell in cells if isinstance(cell.cell_contents, str)] == [
        cortex_m7.SOURCE_DIGEST
    ]
