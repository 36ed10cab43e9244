"""``hil nightly`` and ``hil quarantine``: unattended measurement and what it trusts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

NIGHTLY_EXAMPLE = "Example: hil nightly --bench virtual --history nights.sqlite --out nights"
QUARANTINE_EXAMPLE = (
    "Example: hil quarantine bench-3 --history nights.sqlite --reason 'meter sent in'"
)
HistoryOption = Annotated[Path, typer.Option(help="File of accepted nights; made if missing.")]


def nightly(
    bench: Annotated[list[str], typer.Option(help="Bench or rig: name or TOML file; repeat.")],
    history: HistoryOption,
    out: Annotated[Path, typer.Option(help="Folder for the nights' folders.")],
    accept: Annotated[
        bool, typer.Option("--accept", help="Take tonight's regressions for the new level.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="NAME.int8.npz, or FILE.py:FUNCTION (default: shipped).")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Labelled images (.npz).")] = None,
    images: Annotated[int, typer.Option(min=1, help="Images checked bit for bit.")] = 20,
    toolchain: Annotated[str, typer.Option(help="auto, gcc or zig.")] = "auto",
    min_percent: Annotated[float, typer.Option(help="Smaller changes are noise.")] = 1.0,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Chance of any alarm in a night without a change.")
    ] = 0.01,
    cycles_noise: Annotated[
        float, typer.Option(help="Assumed noise between nights, %, until history knows.")
    ] = 0.2,
    energy_noise: Annotated[float, typer.Option(help="The same for energy.")] = 1.0,
) -> None:
    """Measure benches, judge every cost against the accepted nights, report.

    Exit status: 0 no regression, 1 the night could not start, 2 a regression, 3 a board failed
    (and nothing regressed).
    """
    from hil.core.series import Quantity
    from hil.loop.night_outputs import summary, write_outputs
    from hil.loop.nightly import measure_benches, run_night
    from hil.loop.settings import Settings
    from hil.loop.subject import Subject
    from hil.measure.regression import Policy
    from hil.rig.rigfile import load_bench
    from hil.run.history import History
    from hil.run.journal import new_run_folder

    noise = {Quantity.CYCLES: cycles_noise, Quantity.ENERGY: energy_noise}
    policy = Policy(false_alarm_rate, min_percent, noise)
    benches, subject = [load_bench(name) for name in bench], Subject.load(model, data)
    with History(history) as past:
        night = run_night(
            benches,
            subject,
            past,
            new_run_folder(out, "night"),
            Settings(images=images),
            policy,
            accept,
            _say,
            partial(measure_benches, toolchain=toolchain),
        )
    written = write_outputs(night)
    _point_latest(out, night.folder)
    _say(summary(night))
    for path in written:
        _say(str(path))
    raise typer.Exit(night.status)


def quarantine(
    history: HistoryOption,
    rig: Annotated[str | None, typer.Argument(help="Rig name (default: list all).")] = None,
    reason: Annotated[str, typer.Option(help="Why it is not to be measured.")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="End the quarantine.")] = False,
) -> None:
    """Keep a rig out of every night until lifted, or list the rigs that are out."""
    from hil.core.errors import DataError
    from hil.rig.lock import user_name
    from hil.run.history import History
    from hil.run.journal import utc_now

    with History(history) as past:
        if rig is None:
            for entry in past.quarantined().values():
                kind = "kept out" if entry.by_person else "failed, tried every night"
                _say(f"{entry.rig}: {kind} since {entry.since} ({entry.placed_by}): {entry.reason}")
        elif lift:
            _say(f"{rig}: {'lifted' if past.lift(rig) else 'was not in quarantine'}")
        elif not reason:
            raise DataError(f"quarantine of {rig}: add --reason, somebody will ask")
        else:
            past.quarantine(rig, utc_now(), reason, user_name())
            _say(f"{rig}: kept out until `hil quarantine {rig} --lift`")


def _point_latest(out: Path, folder: Path) -> None:
    """``out/latest`` names the newest night, for CI and for people."""
    draft = out / ".latest"
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder.name)
    draft.replace(out / "latest")


def _say(text: str) -> None:
    print(text, flush=True)
