"""``hil slice-curves``, ``hil choose-cuts`` and ``hil training-cost``: about progressive slices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console as Terminal

from hil.cli_table import plain_table
from hil.core.errors import DataError

if TYPE_CHECKING:
    from hil.clio.slicing.curves import Curves


def register_slicing(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(
        "slice-curves",
        epilog="Example: hil slice-curves training/paper-block5 training/ours --test TEST.npz "
        "--out curves.json",
    )(slice_curves)
    app.command(
        "choose-cuts",
        epilog="Example: hil choose-cuts runs/0001-virtual --board stm32f746 --target-ms 100",
    )(choose_cuts)
    app.command("training-cost", epilog="Example: hil training-cost --cut block5")(training_cost)


def slice_curves(
    training: Annotated[list[Path], typer.Argument(help="Folders of `hil train --cut ...`.")],
    test: Annotated[Path, typer.Option(help="Images all of them are evaluated on.")],
    out: Annotated[Path | None, typer.Option(help="JSON file for points and differences.")] = None,
    baseline: Annotated[str, typer.Option(help="Recipe to compare the others with.")] = "paper",
    calibration: Annotated[
        Path | None,
        typer.Option(help="Images that choose the integers' scales (default: the shipped ones)."),
    ] = None,
) -> None:
    """Accuracy against bytes of slicing runs, and what one recipe gains over another."""
    from hil.clio.slicing.curves import curves
    from hil.clio.slicing.evaluate import load_training
    from hil.nn import assets
    from hil.nn.data.images import load_images

    runs = {folder.name: load_training(folder / "last.pt") for folder in training}
    if len(runs) < len(training):
        raise DataError("two training folders have the same name; rename one")
    side = next(iter(runs.values())).spec.image
    scales = (
        assets.calibration_images()
        if calibration is None
        else load_images(calibration, "train", side).spread(100)
    )
    found = curves(runs, baseline, scales, load_images(test, "test", side), _progress)
    if out is not None:
        document = json.dumps(found.to_dict(), indent=1)
        out.write_text(document + "\n", encoding="utf-8")
    _print_curves(found)


def _progress(text: str) -> None:
    typer.echo(f"\r{text}\033[K", nl=False, err=True)


def _print_curves(found: Curves) -> None:
    typer.echo("", err=True)
    gains = {(d.run, d.cut, d.channels): d for d in found.differences}
    images = found.points[0].accuracy.images
    for cut in dict.fromkeys(point.cut for point in found.points):
        table = plain_table(
            f"{cut}: {images} images of {found.data}, 8 bits a value",
            "run", "channels", "bytes", "top-1", "gain in points",
        )  # fmt: skip
        for point in (p for p in found.points if p.cut == cut):
            gain = gains.get((point.run, cut, point.channels))
            table.add_row(
                point.run,
                f"{point.channels}/{point.of_channels}",
                str(point.raw_bytes),
                f"{point.accuracy.top1:.1%}",
                "" if gain is None else f"{gain.points:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})",
            )
        Terminal().print(table)


def choose_cuts(
    run: Annotated[Path, typer.Argument(help="Run folder with measured costs.")],
    board: Annotated[str, typer.Option(help="Board whose costs count.")],
    target_ms: Annotated[float, typer.Option(help="End-to-end latency target.")],
    low_kbps: Annotated[float, typer.Option(help="Lower end of the bandwidth range.")] = 50.0,
    high_kbps: Annotated[float, typer.Option(help="Upper end.")] = 2000.0,
    slices: Annotated[str, typer.Option(help="every:N, pow2 or 1,2,4 at every cut.")] = "every:2",
) -> None:
    """The fewest cuts to train so that slices cover a bandwidth range (Clio, section 3.4)."""
    from hil.clio.slicing.coverage import cover
    from hil.loop.coverage import cut_ranges

    ranges = cut_ranges(run, board, target_ms / 1e3, slices)
    found = cover([r for r in ranges.values() if r], low_kbps, high_kbps)
    table = plain_table(f"{board}, {target_ms:g} ms: bandwidths of slices {slices}",
                   "cut", "from kbit/s", "to kbit/s", "train it")  # fmt: skip
    chosen = {one.cut for one in found.chosen}
    for cut, one in ranges.items():
        if one is None:
            table.add_row(cut, "-", "-", "no: computing takes the whole target")
        else:
            table.add_row(
                cut,
                f"{one.low_kbps:.1f}",
                f"{one.high_kbps:.1f}",
                "yes" if cut in chosen else "no",
            )
    table.caption = "; ".join(
        [f"not covered: {low:.0f} to {high:.0f} kbit/s" for low, high in found.gaps]
        or [f"{low_kbps:g} to {high_kbps:g} kbit/s are covered"]
    )
    Terminal().print(table)


def training_cost(
    cut: Annotated[list[str], typer.Option(help="Cuts; may be repeated.")],
    model: Annotated[str, typer.Option(help="Name of the model.")] = "mobilenetv2",
    width: Annotated[float, typer.Option(help="Width multiplier.")] = 0.35,
    variant: Annotated[str, typer.Option(help="Strides for cifar or imagenet.")] = "cifar",
    image: Annotated[int, typer.Option(help="Side of the images.")] = 32,
    slices: Annotated[str, typer.Option(help="every:N, pow2 or 1,2,4.")] = "every:2",
    batch: Annotated[int, typer.Option(help="Images a step.")] = 32,
    steps: Annotated[int, typer.Option(help="Steps timed.")] = 5,
) -> None:
    """Measure what a training step costs, naive and with the reductions of Clio's section 3.4."""
    from hil.clio.slicing.recipe import PAPER, SANDWICH
    from hil.clio.slicing.slice_set import slice_channels
    from hil.clio.slicing.training_cost import training_costs
    from hil.nn.capture import capture
    from hil.nn.chain import check_sliceable
    from hil.nn.train import keep_freed_memory
    from hil.nn.zoo import ModelSpec, build_model

    keep_freed_memory()
    spec = ModelSpec(model, width, 10, variant, image)
    network = build_model(spec)
    graph = capture(network, image, model)
    check_sliceable(network, graph, cut)
    for one in cut:
        of_channels = graph.shapes[graph.cut(one).layers][2]
        channels = slice_channels(slices, of_channels)
        costs = training_costs(spec, one, channels, of_channels, (PAPER, SANDWICH), batch, steps)
        table = plain_table(
            f"{model} {width:g}, cut {one}: {batch} images, median of {steps} steps",
            "training", "slices", "learnt", "ms a step", "share",
        )  # fmt: skip
        for cost in costs:
            table.add_row(
                cost.way,
                str(cost.slices),
                str(cost.parameters),
                f"{cost.step_s * 1e3:.0f}",
                f"{cost.step_s / costs[0].step_s:.1%}",
            )
        Terminal().print(table)
