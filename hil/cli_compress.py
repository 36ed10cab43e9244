"""``hil compress`` and ``hil compress-curve``: smaller networks, and what they cost in accuracy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.core.errors import DataError, ModelError

if TYPE_CHECKING:
    from hil.clio.compression.compressed import Compressed
    from hil.nn.checkpoint import Checkpoint
    from hil.nn.data.images import ImageSet

METHODS = ("width", "amc", "metapruning", "torch-pruning")
CheckpointOption = Annotated[
    Path | None, typer.Option(help="Network to compress (default: the shipped MobileNetV2).")
]
EffortOption = Annotated[
    str, typer.Option(help="Search settings: paper (as published) or small (minutes on a CPU).")
]
SeedOption = Annotated[int, typer.Option(help="Seed of searches, weights and held-out images.")]


def register_compression(app: typer.Typer) -> None:
    """Add both verbs to the ``hil`` command."""
    app.command(epilog="Example: hil compress --method amc --data train.npz --macs 0.5 --out half")(
        compress
    )
    app.command(
        epilog="Example: hil compress-curve --data train.npz --test test.npz --out curve",
    )(compress_curve)


def compress(
    out: Annotated[Path, typer.Option(help="Folder for the result; a killed search goes on.")],
    macs: Annotated[float, typer.Option(help="Budget as a share of the network's MACs.")] = 0.5,
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}.")] = "amc",
    checkpoint: CheckpointOption = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Training images; amc and metapruning need them.")
    ] = None,
    effort: EffortOption = "paper",
    episodes: Annotated[int | None, typer.Option(help="amc: episodes after warm-up.")] = None,
    warmup: Annotated[int | None, typer.Option(help="amc: random episodes before.")] = None,
    epochs: Annotated[int | None, typer.Option(help="metapruning: PruningNet epochs.")] = None,
    generations: Annotated[int | None, typer.Option(help="metapruning: generations.")] = None,
    judge: Annotated[
        int | None, typer.Option(help="amc, metapruning: training images held out for rewards.")
    ] = None,
    divisor: Annotated[int | None, typer.Option(help="Channels are multiples of this.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Make a smaller network of the same kind: compressed.npz and compressed.json."""
    if method not in METHODS:
        raise ModelError(f"no method {method!r}; choose {', '.join(METHODS)}")
    from hil.clio.compression.compressed import save_compressed
    from hil.clio.compression.macs import budget_macs
    from hil.nn.stored import made_folder

    source = _checkpoint(checkpoint)
    made_folder(out)
    budget = budget_macs(source.spec, macs)
    if method in ("width", "torch-pruning"):
        made = _without_images(method, source, budget, divisor, seed)
    else:
        from hil.nn.train import keep_freed_memory

        keep_freed_memory()
        images = _images(data, source, method)
        search = {"judge": judge, "divisor": divisor}
        if method == "amc":
            made = _amc(source, budget, images, effort, seed, out,
                        {**search, "episodes": episodes, "warmup": warmup})  # fmt: skip
        else:
            made = _metapruning(source, budget, images, effort, seed, out, search,
                                epochs, generations)  # fmt: skip
    weights, record = save_compressed(made, out)
    _say(str(made))
    _say(f"{weights}, {record}")


def compress_curve(
    data: Annotated[list[Path], typer.Option(help="Training images.")],
    test: Annotated[Path, typer.Option(help="Test images; searches never see them.")],
    out: Annotated[Path, typer.Option(help="Folder for curve.json and all states; resumes.")],
    macs: Annotated[list[float] | None, typer.Option(help="Budgets (default: 0.5, 0.35).")] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Default: width, amc and metapruning.")
    ] = None,
    checkpoint: CheckpointOption = None,
    epochs: Annotated[int, typer.Option(help="Training epochs of every network.")] = 2,
    effort: EffortOption = "small",
    images: Annotated[
        int | None, typer.Option(help="Use only this many training images, all classes alike.")
    ] = None,
    judge: Annotated[int | None, typer.Option(help="Training images held out for rewards.")] = None,
    seed: SeedOption = 0,
) -> None:
    """Accuracy against MACs of width multiplier, AMC and MetaPruning, trained alike."""
    from hil.clio.compression.curve import METHODS as CURVE_METHODS
    from hil.clio.compression.curve import CurveSettings, compression_curve
    from hil.clio.compression.presets import amc_settings, metapruning_settings
    from hil.nn.data.images import load_images, split
    from hil.nn.stored import made_folder
    from hil.nn.train import keep_freed_memory

    keep_freed_memory()
    source = _checkpoint(checkpoint)
    made_folder(out)
    train_set = _images(data, source, "compress-curve")
    if images is not None and images < len(train_set):
        train_set = split(train_set, images, seed)[1]
    amc, metapruning = amc_settings(effort), metapruning_settings(effort)
    if judge is not None:
        amc, metapruning = replace(amc, judge=judge), replace(metapruning, judge=judge)
    rows = compression_curve(
        source,
        train_set,
        load_images(test, "test", source.spec.image),
        macs or [0.5, 0.35],
        CurveSettings(epochs, amc, metapruning),
        out,
        seed,
        tuple(method or CURVE_METHODS),
        _say,
    )
    for row in rows:
        _say(f"{row.method:12} {row.budget:5.2f}  {row.size}  top-1 {row.accuracy}")
    _say(f"{out / 'curve.json'}")


def _checkpoint(path: Path | None) -> Checkpoint:
    from hil.nn import assets
    from hil.nn.checkpoint import load_checkpoint

    return load_checkpoint(path or assets.FOLDER / "mobilenetv2-0.35-cifar10.npz")


def _images(paths: list[Path] | None, source: Checkpoint, what: str) -> ImageSet:
    from hil.nn.data.images import concatenate, load_images

    if not paths:
        raise DataError(f"{what} needs training images: --data FILE")
    images = concatenate([load_images(path, "train", source.spec.image) for path in paths])
    if int(images.y.max()) >= source.spec.classes:
        raise DataError(
            f"{images.name}: label {images.y.max()}, but {source.name} knows "
            f"{source.spec.classes} classes"
        )
    return images


def _without_images(
    method: str, source: Checkpoint, budget: int, divisor: int | None, seed: int
) -> Compressed:
    if method == "width":
        from hil.clio.compression.width import compress_width

        return compress_width(source, budget, seed)
    from hil.clio.compression.structured import StructuredSettings, compress_structured

    settings = StructuredSettings()
    return compress_structured(source, budget, _changed(settings, {"divisor": divisor}))


def _amc(source, budget: int, images: ImageSet, effort: str, seed: int, out: Path, changes):
    from hil.clio.compression.amc import compress_amc
    from hil.clio.compression.presets import amc_settings

    settings = _changed(amc_settings(effort), changes)
    return compress_amc(source, budget, images, settings, seed, out / "amc.pt", _say)


def _metapruning(
    source, budget: int, images: ImageSet, effort: str, seed: int, out: Path, changes,
    epochs: int | None, generations: int | None,
):  # fmt: skip
    from hil.clio.compression.metapruning import compress_metapruning
    from hil.clio.compression.presets import metapruning_settings

    settings = _changed(metapruning_settings(effort), changes)
    settings = replace(
        settings,
        training=_changed(settings.training, {"epochs": epochs}),
        evolution=_changed(settings.evolution, {"generations": generations}),
    )
    return compress_metapruning(source, budget, images, settings, seed, out, _say)


def _changed(settings, changes):
    """``settings`` with what the user gave."""
    return replace(settings, **{key: value for key, value in changes.items() if value is not None})


def _say(text: str) -> None:
    print(text, flush=True)
