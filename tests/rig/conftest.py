"""A twin with a firmware double on a thread; the wires are as real as with a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from scripted_bench import Bench

from hil.rig.console import Console
from hil.rig.flashers.virtual import VirtualFlasher
from hil.sim.scripted_chip import ScriptedChip
from hil.sim.twin import Twin


@pytest.fixture
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("t")
    twin = Twin(ScriptedChip("gap8"), "gap8", folder, seed=7)
    thread = threading.Thread(target=twin.run, daemon=True)
    thread.start()
    probe = VirtualFlasher(folder / "control.sock", timeout_s=5.0)
    yield Bench(folder, probe, [])
    probe.ask("quit")
    thread.join(5.0)
    assert not thread.is_alive()


@pytest.fixture
def console(bench: Bench) -> Iterator[Console]:
    """A console to a board that runs the double's normal firmware."""
    with bench.console() as console:
        bench.probe.flash(bench.firmware())
        console.wait_hello()
        yield console
