"""The ``hil`` command: one verb for each step of the bench.

Errors that the bench raises on purpose are printed as one line; the exit status is 1.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console as Terminal
from rich.table import Table

from hil import cli_faults, cli_nightly
from hil.cli_compress import register_compression
from hil.cli_doctor import DOCTOR_EXAMPLE, doctor
from hil.cli_energyrunner import Protocol, energyrunner_firmware, register_energyrunner
from hil.cli_gdb import register_gdb
from hil.cli_meter import meter_app
from hil.cli_rig import rig_app
from hil.cli_sim import register as register_sim
from hil.cli_slices import slice_sizes
from hil.cli_slicing import register_slicing
from hil.cli_table import plain_table
from hil.cli_train import register_training
from hil.core.errors import DataError, HilError
from hil.core.secrets import masked

if TYPE_CHECKING:  # the verbs import what they need: `hil --help` must not load torch
    from hil.clio.optimizer import Sweep
    from hil.clio.pricing import Priced
    from hil.core.cost import CostTable, Interval
    from hil.loop.encoding import Encoding

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Hardware-in-the-loop bench for networks split between a microcontroller and the cloud.",
)
sim_app = typer.Typer(no_args_is_help=True, help="Simulated chips.")
app.add_typer(rig_app, name="rig")
app.add_typer(sim_app, name="sim")
app.add_typer(meter_app, name="meter")
app.command("slice-sizes", epilog="Example: hil slice-sizes --bits 5 --cut block5")(slice_sizes)
app.command("doctor", epilog=DOCTOR_EXAMPLE)(doctor)
app.command("nightly", epilog=cli_nightly.NIGHTLY_EXAMPLE)(cli_nightly.nightly)
app.command("faults", epilog=cli_faults.FAULTS_EXAMPLE)(cli_faults.faults)
app.command("quarantine", epilog=cli_nightly.QUARANTINE_EXAMPLE)(cli_nightly.quarantine)
register_training(app)
register_slicing(app)
register_compression(app)
register_gdb(sim_app)
register_sim(sim_app)
register_energyrunner(app)
terminal = Terminal()

RUNS = Path("runs")
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="NAME.sliced.npz or NAME.int8.npz of `hil release`, or FILE.py:FUNCTION giving a "
        "torch module.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Labelled images (.npz); a torch model needs them."),
]


def main() -> None:
    """Entry point: HilErrors become one line on stderr and exit status 1."""
    try:
        app()
    except HilError as error:
        print(f"hil: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:  # noqa: BLE001 - a mistake of ours, told but for what a rig file keeps secret
        print(masked(traceback.format_exc()), file=sys.stderr)
        sys.exit(1)


@app.command(epilog="Example: hil generate --board gap8 --cut block5 --out build/gap8")
def generate(
    board: Annotated[str, typer.Option(help="Board to generate for.")],
    out: Annotated[Path, typer.Option(help="Folder for sources and firmware.elf.")],
    cut: Annotated[
        str | None, typer.Option(help="Last cut on the device (default: deepest).")
    ] = None,
    toolchain: Annotated[str, typer.Option(help="auto, gcc or zig.")] = "auto",
    model: ModelOption = None,
    data: DataOption = None,
    protocol: Annotated[
        Protocol, typer.Option(help="What the console speaks (docs/energyrunner.md).")
    ] = Protocol.FRAMES,
) -> None:
    """Generate the C of a device part and build its firmware."""
    import boards
    from codegen.build import build
    from codegen.generate import generate as generate_sources
    from hil.loop.campaign import prepare
    from hil.loop.subject import Subject

    network = Subject.load(model, data).network
    if protocol is not Protocol.FRAMES:
        if cut is not None:
            raise DataError("--cut: an EnergyRunner image holds the whole network; leave it out")
        firmware = energyrunner_firmware(network, board, protocol, out, toolchain)
    elif cut is None:
        firmware = prepare(network, board, out, toolchain).firmware
    else:
        target = boards.load_board(board)
        sources = generate_sources(network, target, network.cut(cut).layers)
        firmware = build(sources, target, out, toolchain)
    _say(f"{firmware.elf}: {firmware.layers} layers, {firmware.toolchain}")
    _say(f"build id {firmware.build_id}, ELF sha256 {firmware.elf_sha256}")
    for use in firmware.memory_use:
        _say(f"{use.memory}: {use.used_bytes} of {use.size_bytes} bytes")


@app.command(epilog="Example: hil measure --rig virtual --out runs/today --resume")
def measure(
    rig: Annotated[str, typer.Option(help="Bench: name or TOML file.")] = "virtual",
    out: Annotated[Path | None, typer.Option(help="Run folder (default: next in runs/).")] = None,
    resume: Annotated[bool, typer.Option(help="Measure only what the run folder lacks.")] = False,
    images: Annotated[int, typer.Option(help="Images checked bit for bit.")] = 20,
    model: ModelOption = None,
    data: DataOption = None,
    toolchain: Annotated[str, typer.Option(help="auto, gcc or zig.")] = "auto",
) -> None:
    """Measure a network on every board of a bench, then write the report."""
    from hil.rig.attached import refuse_missing
    from hil.rig.rigfile import load_bench

    if resume and out is None:
        raise DataError("--resume needs --out: the run folder to go on with")
    bench = load_bench(rig)
    refuse_missing(bench.rigs)

    from hil.loop.campaign import run_campaign  # loads torch, which takes seconds
    from hil.loop.settings import Settings
    from hil.loop.subject import Subject
    from hil.run.journal import new_run_folder

    subject = Subject.load(model, data)
    folder = out or new_run_folder(RUNS, bench.name)
    run_campaign(bench.rigs, subject, folder, Settings(images=images), resume, toolchain, _say)
    _write_report(folder, folder / "report.html")


@app.command(epilog="Example: hil report runs/0001-virtual --out report.html")
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[
        Path | None, typer.Option(help="HTML file (default: in the run folder).")
    ] = None,
) -> None:
    """Write the HTML report of a run; needs nothing but its folder."""
    _write_report(run, out or run / "report.html")


def _write_report(folder: Path, out: Path) -> None:
    from hil.loop.report import report_data
    from reports.render import render

    _say(f"report: {render(report_data(folder), out)}")


@app.command(epilog="Example: hil show runs/0001-virtual --board gap8")
def show(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    board: Annotated[str | None, typer.Option(help="Only this board.")] = None,
) -> None:
    """Print the cost of every layer that a run has measured."""
    for table in _tables(run, board):
        origin = table.provenance
        costs = plain_table(
            f"{origin.board}: cycles {origin.cycles_origin}, energy {origin.energy_origin}",
            "layer", "cycles", "95 %", "n", "MAC/cycle", "us", "uJ",
        )  # fmt: skip
        for row in table.rows:
            median = row.cycles.median
            costs.add_row(
                row.name,
                f"{median:.0f}",
                f"-{row.cycles.below:.0f} +{row.cycles.above:.0f}",
                str(row.cycles.n),
                f"{row.macs / median:.2f}" if median else "-",
                f"{median / table.clock_hz * 1e6:.1f}",
                f"{row.energy_uj.median:.2f}" if row.energy_uj else "-",
            )
        terminal.print(costs)


@app.command(
    epilog="Example: hil optimize runs/0001-virtual --radio ble --target accuracy "
    "--max-latency-ms 50"
)
def optimize(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    radio: Annotated[str, typer.Option(help="lora, zigbee, ble or wifi.")] = "ble",
    target: Annotated[
        str, typer.Option(help="latency, energy, or accuracy (within a latency or energy limit).")
    ] = "latency",
    board: Annotated[str | None, typer.Option(help="Only this board.")] = None,
    max_latency_ms: Annotated[float | None, typer.Option(help="Limit.")] = None,
    max_energy_uj: Annotated[
        float | None, typer.Option(help="Limit of the device's energy.")
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(help="Least top-1 (default: 1 point below the best; none for accuracy)."),
    ] = None,
    coding: Annotated[
        str, typer.Option(help="Slices as raw, packed or range-coded bytes.")
    ] = "raw",
    bits: Annotated[int, typer.Option(help="Bits a value of packed or range-coded slices.")] = 8,
    low_kbps: Annotated[float, typer.Option(help="Lower end of the bandwidth range.")] = 50.0,
    high_kbps: Annotated[float, typer.Option(help="Upper end.")] = 2000.0,
    every: Annotated[bool, typer.Option(help="List every partition, not only the best.")] = False,
) -> None:
    """Print the best partition over a range of bandwidths, and where it changes."""
    from hil.clio.optimizer import Target
    from hil.clio.radio import radio as radio_named
    from hil.loop.decide import Decider
    from hil.loop.encoding import Encoding
    from hil.loop.report import bandwidth_grid
    from hil.nn.network_file import load_network
    from hil.run.reader import Run

    try:
        wanted = Target(target)
    except ValueError:
        raise DataError(f"no target {target!r}; choose {', '.join(Target)}") from None
    encoding = Encoding.named(coding, bits)
    network, link = load_network(run / "network.npz"), radio_named(radio)
    for table in _tables(run, board):
        decider = Decider.of(Run.load(run), table, network, encoding)
        limits = {
            "max_latency_s": None if max_latency_ms is None else max_latency_ms / 1e3,
            "max_energy_uj": max_energy_uj,
        }
        if min_accuracy is not None:
            limits["min_accuracy"] = min_accuracy
        goal = decider.goal(wanted, **limits)
        if every:
            options = decider.price_all(link)
            terminal.print(_option_table(options, decider.board, link.name, encoding))
        swept = decider.sweep(link, goal, bandwidth_grid(low_kbps, high_kbps, 9))
        terminal.print(_sweep_table(swept, decider.board, encoding))


def _coder_caveat(encoding: Encoding) -> str:
    return "" if encoding.complete else "the coder's time on the device is not measured"


def _option_table(options: tuple[Priced, ...], board: str, radio: str, encoding: Encoding) -> Table:
    table = plain_table(
        f"{board}, {radio}: every partition, slices {encoding}",
        "cut", "channels", "bytes", "device ms", "radio ms", "cloud ms", "total ms", "mJ", "top-1",
        caption=_coder_caveat(encoding),
    )  # fmt: skip
    for option in options:
        part = option.partition
        table.add_row(
            part.cut,
            f"{part.channels}/{part.of_channels}",
            str(part.wire_bytes),
            _scaled(option.device_s, 1e3),
            f"{option.airtime_s * 1e3:.2f}",
            _scaled(option.cloud_s, 1e3),
            "no fit" if option.refused else _scaled(option.latency_s, 1e3),
            _scaled(option.energy_uj, 1e-3),
            f"{option.accuracy.median:.1%}" if option.accuracy else "unknown",
        )
    return table


def _sweep_table(swept: Sweep, board: str, encoding: Encoding) -> Table:
    notes = [f"changes at {s.bandwidth_kbps:.0f} kbit/s" for s in swept.switches]
    if not notes and swept.decisions[0].best is not None:
        notes = ["one partition is best over the whole range"]
    notes += [d.outcome.value for d in swept.decisions if d.best is None][:1]
    notes.append(_coder_caveat(encoding))
    table = plain_table(
        f"{board}, {swept.radio.name}: {swept.decisions[0].goal}, slices {encoding}",
        "best cut", "kbit/s", "channels", "bytes", "total ms", "mJ", "top-1", "certain",
        caption="; ".join(note for note in notes if note),
    )  # fmt: skip
    for decision in swept.decisions:
        best, bandwidth = decision.best, f"{decision.bandwidth_kbps:.0f}"
        if best is None:
            table.add_row("none", bandwidth)
            continue
        part = best.partition
        table.add_row(
            part.cut,
            bandwidth,
            f"{part.channels}/{part.of_channels}",
            str(part.wire_bytes),
            _scaled(best.latency_s, 1e3),
            _scaled(best.energy_uj, 1e-3),
            f"{best.accuracy.median:.1%}" if best.accuracy else "unknown",
            "no" if decision.uncertain else "yes",
        )
    return table


def _scaled(interval: Interval | None, factor: float) -> str:
    return "-" if interval is None else f"{interval.median * factor:.2f}"


@app.command(epilog="Example: hil compare runs/0001-virtual runs/0002-virtual")
def compare(
    before: Annotated[Path, typer.Argument(help="Run folder of the baseline.")],
    after: Annotated[Path, typer.Argument(help="Run folder to judge.")],
) -> None:
    """Compare the costs of two runs; exit status 2 when a layer became worse."""
    from hil.run.compare import compare as compare_tables

    old = {table.provenance.board: table for table in _tables(before, None)}
    worse = 0
    for table in _tables(after, None):
        name = table.provenance.board
        if name not in old:
            _say(f"{name}: not in {before}")
            continue
        comparison = compare_tables(old[name], table)
        worse += len(comparison.worse())
        deltas = plain_table(name, "layer", "cycles", "%", "verdict", "energy %", "verdict")
        for layer in comparison.layers:
            cycles, energy = layer.cycles, layer.energy_uj
            deltas.add_row(
                layer.name,
                _scaled(cycles.after, 1.0),
                "-" if cycles.percent is None else f"{cycles.percent:+.2f}",
                cycles.change.value,
                "-" if energy.percent is None else f"{energy.percent:+.2f}",
                energy.change.value,
            )
        terminal.print(deltas)
    if worse:
        raise typer.Exit(2)


def _tables(run: Path, board: str | None) -> list[CostTable]:
    from hil.loop.report import cost_tables
    from hil.nn.network_file import load_network
    from hil.run.reader import Run

    loaded = Run.load(run)
    tables = cost_tables(loaded, load_network(run / "network.npz"))
    chosen = [t for t in tables if board in (None, t.provenance.board)]
    if not chosen:
        known = ", ".join(t.provenance.board for t in tables) or "none"
        raise DataError(f"{run}: no costs of board {board or 'any'}; boards with costs: {known}")
    return chosen


def _say(text: str) -> None:
    """Progress and results as plain lines: they go to log files as well."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
