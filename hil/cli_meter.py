"""``hil meter``: calibrations of power meters, and simulated instruments to try things with."""

from __future__ import annotations

import datetime
import math
from typing import Annotated

import typer

from hil.core.errors import RigError

MOST_SUPPLY_V = 60.0
meter_app = typer.Typer(no_args_is_help=True, help="Power meters: calibrations, simulators.")


@meter_app.command(epilog="Example: hil meter read nucleo --duration-s 1")
def read(
    rig: Annotated[str, typer.Argument(help="Rig whose meter is read; its board is left alone.")],
    duration_s: Annotated[float, typer.Option(help="How long, in seconds.")] = 0.5,
) -> None:
    """Print the mean current as the meter tells it, without its stored calibration."""
    from hil.rig.rigfile import load_rig
    from hil.rig.steady import read_steady

    found = read_steady(load_rig(rig), duration_s)
    typer.echo(
        f"{found.mean_a:.9g} A, standard deviation {found.spread_a:.3g} A over {found.samples} "
        f"samples of {found.sample_interval_s * 1e6:g} us; supply {found.supply_v:g} V, shunt "
        f"{found.series_ohms:g} ohms\n{found.meter}: {found.origin.value}"
    )


@meter_app.command(
    epilog="Example: hil meter calibrate MY59001234 --model N6705C --point 0.010012:0.01 "
    "--point 0.090101:0.09"
)
def calibrate(
    serial: Annotated[str, typer.Argument(help="Third field of the meter's *IDN? answer.")],
    model: Annotated[str, typer.Option(help="Second field of the meter's *IDN? answer.")],
    point: Annotated[
        list[str] | None,
        typer.Option(help="READ:TRUE, two steady currents in amperes; gain and offset follow."),
    ] = None,
    gain: Annotated[float, typer.Option(help="True over read current, but for the shunt.")] = 1.0,
    offset_a: Annotated[float, typer.Option(help="Added to the current, in amperes.")] = 0.0,
    shunt_ohms: Annotated[float, typer.Option(help="The shunt's true resistance; 0: none.")] = 0.0,
    nominal_shunt_ohms: Annotated[
        float, typer.Option(help="The rig file's shunt_ohms, with --point and --shunt-ohms.")
    ] = 0.0,
    cable_ohms: Annotated[float, typer.Option(help="Between supply and board.")] = 0.0,
    valid_days: Annotated[int, typer.Option(help="Days until it has to be repeated.")] = 365,
    date: Annotated[str, typer.Option(help="Of the calibration, YYYY-MM-DD; default today.")] = "",
) -> None:
    """Store what a calibration has found; rigs with `calibration = "required"` use it."""
    from hil.rig.calibration import Calibration, store, through_points

    if point:
        if (gain, offset_a) != (1.0, 0.0):
            raise RigError("--point tells gain and offset; leave --gain and --offset-a out")
        points = [_point(text) for text in point]
        gain, offset_a = through_points(points, shunt_ohms, nominal_shunt_ohms)
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

    if not (math.isfinite(current_a) and 0.0 < supply_v <= MOST_SUPPLY_V):
        raise RigError(
            f"--current-a {current_a:g} is a number, --supply-v {supply_v:g} is above 0 and up to "
            f"{MOST_SUPPLY_V:g}"
        )
    trace = PowerTrace(np.array([current_a * supply_v]), 1e-5, supply_v)
    try:
        server = InstrumentServer(make_instrument(kind, supply_v), trace, port)
    except (OSError, OverflowError) as error:
        raise RigError(f"port {port}: {error}; choose another with --port") from error
    typer.echo(f"{server.instrument.idn} at {server.resource}; Ctrl-C ends it")
    try:
        server.run()
    except KeyboardInterrupt:
        typer.echo("ended")


def _point(text: str) -> tuple[float, float]:
    try:
        read_a, true_a = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise RigError(f"--point {text}: not two currents like 0.010012:0.01") from error
    return read_a, true_a


def _day(text: str) -> datetime.date:
    if not text:
        return datetime.datetime.now(datetime.UTC).date()
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise RigError(f"--date {text}: not a date like 2026-11-25") from error
