"""``hil slice-sizes``: how many bytes the slices of a network have in each coding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console as Terminal
from rich.table import Table

from hil.cli_table import plain_table

if TYPE_CHECKING:
    from hil.coding.sizes import SliceSize


def slice_sizes(
    bits: Annotated[int, typer.Option(help="Bits a value, packed and range-coded.")] = 8,
    cut: Annotated[
        str | None, typer.Option(help="All borders of this cut (default: whole tensors).")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="NAME.sliced.npz or NAME.int8.npz (default: the shipped).")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Images for the statistics (default: the shipped ones).")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Images to be sized (default: the shipped samples).")
    ] = None,
) -> None:
    """Print payload bytes of slices: raw, packed and range-coded. A frame adds 24 bytes."""
    from hil.coding.sizes import slice_sizes as sizes_of
    from hil.coding.slice_codec import Coding, SliceCodec
    from hil.coding.statistics import SliceStatistics
    from hil.loop.subject import Subject
    from hil.nn import assets
    from hil.nn.data.images import load_images
    from hil.nn.reference import quantise_input, run

    subject = Subject.load(model, data)
    network = subject.network
    known = load_images(calibration) if calibration else assets.calibration_images()
    cuts = (
        [network.cut(cut)] if cut else [c for c in network.cuts if c.layers < len(network.layers)]
    )
    upto = max(c.layers for c in cuts)
    calibrated, tested = (
        run(network, quantise_input(x), upto) for x in (known.x, subject.images.x)
    )
    table = plain_table(
        f"{network.name}: {bits} bits a value, {len(subject.images)} images",
        "cut", "channels", "raw", "packed", "range mean", "median", "max", "% of raw",
    )  # fmt: skip
    for one in cuts:
        tensor = network.tensors[one.layers]
        statistics = SliceStatistics.of(calibrated[one.layers], bits)
        codecs = (
            SliceCodec(tensor),
            SliceCodec(tensor, Coding.PACKED, bits),
            SliceCodec(tensor, Coding.RANGE, bits, statistics),
        )
        borders = list(zip(*(sizes_of(codec, tested[one.layers]) for codec in codecs), strict=True))
        for raw, packed, ranged in borders if cut else borders[-1:]:
            _add_row(table, one.name, raw, packed, ranged)
    Terminal().print(table)


def _add_row(table: Table, cut: str, raw: SliceSize, packed: SliceSize, ranged: SliceSize) -> None:
    table.add_row(
        cut,
        str(raw.channels),
        str(raw.max_bytes),
        str(packed.max_bytes),
        f"{ranged.mean_bytes:.1f}",
        f"{ranged.median_bytes:g}",
        str(ranged.max_bytes),
        f"{ranged.mean_bytes / raw.max_bytes:.1%}",
    )
