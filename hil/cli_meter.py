"""``hil meter``: calibrations of power meters, and simulated instruments to try things with."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from hil.core.errors import RigError

meter_app = typer.Typer(no_args_is_help=True, help="Power meters: calibrations, simulators.")


@meter_app.command(
    epilog="Example: hil meter calibrate MY59001234 --model N6705C --gain 1.0013 --offset-a -2e-6"
)
def calibrate(
    serial: Annotated[str, typer.Argument(help="Third field of the meter's *IDN? answer.")],
    model: Annotated[str, typer.Option(help="Second field of the meter's *IDN? answer.")],
    gain: Annotated[float, typer.Option(help="True current over read current.")] = 1.0,
    offset_a: Annotated[float, typer.Option(help="Added to the current, in amperes.")] = 0.0,
    shunt_ohms: Annotated[float, typer.Option(help="The shunt's true resistance; 0: none.")] = 0.0,
    cable_ohms: Annotated[float, typer.Option(help="Between supply and board.")] = 0.0,
    valid_days: Annotated[int, typer.Option(help="Days until it has to be repeated.")] = 365,
    date: Annotated[str, typer.Option(help="Of the calibration, YYYY-MM-DD; default today.")] = "",
) -> None:
    """Store what a calibration has found; rigs with `calibration = "required"` use it."""
    from hil.rig.calibration import Calibration, store

    record = Calibration(
        serial, model, _day(date), valid_days, gain, offset_a, shunt_ohms, cable_ohms
    )
    path = store(record)
    typer.echo(f"{serial} ({model}): {record.label}, expires {record.expires}, in {path}")


@meter_app.command("calibrations", epilog="Example: hil meter calibrations")
def list_calibrations() -> None:
    """Print the stored calibrations."""
    from hil.rig.calibration import default_path, load_all

    records = load_all()
    if not records:
        typer.echo(f"none; {default_path()} is where they are kept")
    for record in records.values():
        typer.echo(
            f"{record.serial} ({record.model}): {record.label}, expires {record.expires}; gain "
            f"{record.gain:g}, offset {record.offset_a:g} A, shunt {record.shunt_ohms:g} ohms, "
            f"cables {record.cable_ohms:g} ohms"
        )


@meter_app.command(
    epilog="Example: hil meter simulate keysight_n6705c --port 5025 --current-a 0.05"
)
def simulate(
    kind: Annotated[str, typer.Argument(help="Kind of meter, as in a rig file.")],
    port: Annotated[int, typer.Option(help="TCP port on 127.0.0.1; 0 takes a free one.")] = 0,
    current_a: Annotated[float, typer.Option(help="Steady current that it sees.")] = 0.05,
    supply_v: Annotated[float, typer.Option(help="Voltage at which it flows.")] = 3.3,
) -> None:
    """Run a simulated instrument until Ctrl-C; its time passes while a client waits."""
    import numpy as np

    from hil.sim.instruments import make_instrument
    from hil.sim.instruments.power_trace import PowerTrace
    from hil.sim.instruments.server import InstrumentServer

    trace = PowerTrace(np.array([current_a * supply_v]), 1e-5, supply_v)
    try:
        server = InstrumentServer(make_instrument(kind, supply_v), trace, port)
    except OSError as error:
        raise RigError(f"port {port}: {error}; choose another with --port") from error
    typer.echo(f"{server.instrument.idn} at {server.resource}; Ctrl-C ends it")
    try:
        server.run()
    except KeyboardInterrupt:
        typer.echo("ended")


def _day(text: str) -> datetime.date:
    if not text:
        return datetime.datetime.now(datetime.UTC).date()
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise RigError(f"--date {text}: not a date like 2026-11-25") from error
