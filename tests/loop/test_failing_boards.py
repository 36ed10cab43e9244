"""What a failing board does to its own measurement and to that of the others."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hil.core.errors import HilError, TargetError, UnexpectedError
from hil.loop import campaign
from hil.loop.campaign import Campaign
from hil.loop.settings import Settings
from hil.run.journal import Journal
from hil.run.reader import Run


def measured(folder: Path, prepared: dict[str, Any]) -> tuple[dict[str, HilError], Run]:
    """The boards' errors and the journal, after a campaign on rigs of these names."""
    rigs = tuple(SimpleNamespace(name=name) for name in prepared)
    with Journal.create(folder, "bench", {}) as journal:
        started = Campaign(rigs, prepared, None, journal, Settings(), lambda _: None, {})
        failures = started.measure()
    return failures, Run.load(folder)


def test_an_unforeseen_failure_is_one_boards_own(tmp_path, monkeypatch):
    @contextmanager
    def open_rig(rig, _on_event):
        if rig.name == "odd":
            raise Exception("could not connect: Name or service not known")
        raise TargetError("the other one, which goes its own way")
        yield

    monkeypatch.setattr(campaign, "open_rig", open_rig)
    failures, run = measured(tmp_path, {"odd": None, "other": None})
    assert type(failures["other"]) is TargetError
    assert isinstance(failures["odd"], UnexpectedError)
    said = "Exception: could not connect: Name or service not known (in open_rig, test_failing"
    assert said in str(failures["odd"])
    told = [event.detail for event in run.events if event.what == "quarantine"]
    assert len(told) == 2 and any(detail.startswith(f"odd: {said}") for detail in told)


class Hung:
    """An open rig whose board answers once its supply was off and on."""

    def __init__(self) -> None:
        self.rig = SimpleNamespace(
            name="quick", board="gap8", power=SimpleNamespace(kind="relay", off_s=0.0)
        )
        self.power = self
        self.console = SimpleNamespace(discard_input=lambda: None, wait_hello=lambda: None)
        self.flasher = SimpleNamespace(loads_ram=False)
        self.seen: list[bool] = []
        self.rig.flasher = SimpleNamespace(kind="openocd")

    def switch(self, on: bool) -> None:
        self.seen.append(on)

    def reset_board(self) -> None:
        raise TargetError("the board did not announce itself")

    def ensure_firmware(self, _firmware: object) -> SimpleNamespace:
        if self.seen != [False, True]:
            raise TargetError("the board did not answer IDENTIFY")
        return SimpleNamespace(compute_clock_hz=1)


def test_a_board_that_hangs_at_the_start_is_brought_back(tmp_path, monkeypatch):
    opened = Hung()

    @contextmanager
    def open_rig(_rig, _on_event):
        yield opened

    monkeypatch.setattr(campaign, "open_rig", open_rig)
    prepared = SimpleNamespace(firmware=None, board=SimpleNamespace(compute_clock_hz=2))
    failures, run = measured(tmp_path, {"quick": prepared})
    # What comes behind the firmware is the next thing that is wrong with it.
    assert "runs at 1 Hz, board.toml says 2 Hz" in str(failures["quick"])
    assert [event.what for event in run.events] == [
        "retry", "reset", "not recovered", "retry", "power-cycle", "quarantine",
    ]  # fmt: skip
    assert opened.seen == [False, True]
