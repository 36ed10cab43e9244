"""``hil doctor``: what is missing on this computer and on a bench, and how to mend it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console as Terminal
from rich.table import Table
from rich.text import Text

DOCTOR_EXAMPLE = "Example: hil doctor --rig nucleo"
_STYLES = {"ok": "green", "note": "yellow", "FAILS": "bold red"}


def doctor(
    rig: Annotated[
        str | None, typer.Option(help="Bench to look at too: name or TOML file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A list of findings, for programs.")
    ] = False,
) -> None:
    """Check Python, packages, compilers, tools, rights, VISA and a bench; say how to mend them.

    Exit status 1 when something that is needed fails.
    """
    from hil.core.secrets import masked
    from hil.loop.doctor import State, examine, shown

    findings = examine(rig)
    failed = sum(finding.state is State.FAILURE for finding in findings)
    if as_json:
        entries = [
            {
                "topic": f.topic, "name": masked(f.name), "state": f.state.name.lower(),
                "detail": masked(f.detail), "mend": masked(f.mend),
            }
            for f in findings
        ]  # fmt: skip
        print(json.dumps(entries, indent=1))
    else:
        table = Table("", "what", "finding", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for finding in findings:
            state = finding.state.value
            what = Text(f"{finding.topic}: {masked(finding.name)}", overflow="fold")
            table.add_row(Text(state, _STYLES[state]), what, Text(shown(finding)))
        Terminal().print(table)
        print("nothing that is needed is missing" if not failed else f"{failed} to mend")
    if failed:
        raise typer.Exit(1)
