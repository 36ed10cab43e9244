"""``hil train`` and ``hil release``: networks, plain or with progressive slices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.core.errors import DataError, ModelError

if TYPE_CHECKING:
    import torch

    from hil.clio.slicing.slice_set import SliceSet
    from hil.nn.zoo import ModelSpec


_DEFAULT_MODEL: dict[str, Any] = {"name": "mobilenetv2", "width": 0.35}


def register_training(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command(
        epilog="Examples: hil train --data cifar-10-python.tar.gz --test cifar-10-python.tar.gz "
        "--epochs 14 --out training/plain\n\n"
        "hil train --data TRAIN.npz --test TEST.npz --init NAME.npz --cut block5 --slices every:2 "
        "--recipe sandwich --epochs 4 --peak-lr 0.1 --out training/sliced"
    )(train)
    app.command(
        epilog="Example: hil release training/mobilenetv2-0.35-cifar10 --test lossless_test.npz "
        "--out released"
    )(release)


def train(
    data: Annotated[
        list[Path],
        typer.Option(help="Training images: .npz packs, CIFAR-10 archives or folder trees."),
    ],
    test: Annotated[Path, typer.Option(help="Test images, in the same formats.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint and log; continues if there.")],
    model: Annotated[
        str | None, typer.Option(help="mobilenetv2 (default), resnet18, vgg16 or vgg19.")
    ] = None,
    width: Annotated[float | None, typer.Option(help="Width multiplier (default: 0.35).")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Strides for cifar (default) or imagenet.")
    ] = None,
    image: Annotated[
        int | None, typer.Option(help="Side of the images in pixels (default: 32).")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from this checkpoint (its model, its weights).")
    ] = None,
    cut: Annotated[
        list[str] | None, typer.Option(help="Learn progressive slices here; may be repeated.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(help="every:N, pow2 or 1,2,4: one for all cuts, or one each."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="sandwich, all-slices, nested, paper-exact or paper.")
    ] = "sandwich",
    trace: Annotated[
        list[Path] | None, typer.Option(help="Slice probabilities from these bandwidth traces.")
    ] = None,
    trace_scale: Annotated[float, typer.Option(help="Traces' bandwidth times this.")] = 1.0,
    radio: Annotated[
        str | None, typer.Option(help="Slice probabilities from this radio (see --spread).")
    ] = None,
    spread: Annotated[
        float, typer.Option(help="Radio's standard deviation, as a fraction of its bandwidth.")
    ] = 0.5,
    send_ms: Annotated[
        float | None,
        typer.Option(help="Latency target less computing: with --trace or --radio."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 14,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 128,
    peak_lr: Annotated[float, typer.Option(help="Highest learning rate of the cycle.")] = 0.35,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and augmentation.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="float32, or mixed: bfloat16 where it can be.")
    ] = "float32",
) -> None:
    """Train a network, or its progressive slices, with a checkpoint after every epoch."""
    from hil.nn.data.images import concatenate, load_images
    from hil.nn.train import TrainRecipe, keep_freed_memory
    from hil.nn.train import train as train_plain
    from hil.nn.zoo import ModelSpec

    keep_freed_memory()
    asked = {"name": model, "width": width, "variant": variant, "image": image}
    given: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    spec, weights = (None, None) if init is None else _initial(init, given)
    side = given.get("image", 32) if spec is None else spec.image
    larger = side > 64  # small images come as they are; larger ones are cropped while training
    images = concatenate([load_images(path, "train", None if larger else side) for path in data])
    tests = load_images(test, "test", side)
    if spec is None:
        spec = ModelSpec(**{**_DEFAULT_MODEL, **given}, classes=int(images.y.max()) + 1)
    settings = TrainRecipe(epochs, batch, peak_lr, seed=seed, precision=precision)
    if not cut:
        train_plain(spec, settings, images, tests, out, _say, device, weights)
        return
    links = None
    if trace or radio is not None:
        links = _bandwidths(trace or [], trace_scale, radio, spread, send_ms)
    _train_slices(
        spec, weights, settings, images, tests, out, device, recipe,
        _slice_sets(spec, cut, slices or ["every:2"], links),
    )  # fmt: skip


def _initial(path: Path, given: dict[str, Any]) -> tuple[ModelSpec, dict[str, torch.Tensor]]:
    """Model and weights of ``--init``; DataError if options ask for another model."""
    import torch

    from hil.nn.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    for key, value in given.items():
        if value != getattr(checkpoint.spec, key):
            option = "--model" if key == "name" else f"--{key}"
            raise DataError(
                f"{option} {value}: {path} is of {getattr(checkpoint.spec, key)}; leave {option} "
                "out, --init brings its own model"
            )
    return checkpoint.spec, {
        key: torch.from_numpy(array.copy()) for key, array in checkpoint.weights.items()
    }


def _bandwidths(
    traces: list[Path], scale: float, radio: str | None, spread: float, send_ms: float | None
):
    """(bandwidths in kbit/s, their weights, seconds for sending) for the probabilities."""
    import numpy as np

    from hil.clio.radio import radio as radio_named
    from hil.clio.slicing.slice_set import radio_bandwidths
    from hil.clio.traces import load_trace

    if send_ms is None:
        raise DataError("slice probabilities from a link need --send-ms: the time left for sending")
    if traces and radio is not None:
        raise DataError("slice probabilities come from --trace or from --radio, not from both")
    if radio is not None:
        found = radio_bandwidths(radio_named(radio), spread)
        return found, np.ones(len(found)), send_ms / 1e3
    loaded = [load_trace(path).scaled(scale) for path in traces]
    kbps = np.concatenate([one.bandwidths_kbps for one in loaded])
    return kbps, np.concatenate([one.durations_s for one in loaded]), send_ms / 1e3


def _slice_sets(spec: ModelSpec, cuts: list[str], rules: list[str], link) -> list[SliceSet]:
    from hil.clio.slicing.slice_set import from_bandwidth, slice_channels, uniform
    from hil.nn.capture import capture
    from hil.nn.chain import check_sliceable
    from hil.nn.zoo import build_model

    if len(rules) not in (1, len(cuts)):
        raise ModelError(f"{len(rules)} slice rules for {len(cuts)} cuts; give one, or one a cut")
    if len(set(cuts)) < len(cuts):
        raise ModelError(f"cuts {', '.join(cuts)}: name each once; --slices 1,2,4 lists its slices")
    model = build_model(spec)
    graph = capture(model, spec.image, spec.name)
    check_sliceable(model, graph, cuts)
    found = []
    for cut, rule in zip(cuts, rules * (1 if len(rules) > 1 else len(cuts)), strict=True):
        height, width, of_channels = graph.shapes[graph.cut(cut).layers]
        channels = slice_channels(rule, of_channels)
        if link is None:
            found.append(uniform(cut, channels))
        else:
            kbps, weights, budget_s = link
            sizes = [height * width * n for n in channels]
            found.append(from_bandwidth(cut, channels, sizes, kbps, budget_s, weights))
    return found


def _train_slices(
    spec, weights, settings, images, tests, out, device, recipe_name, sets: list[SliceSet]
) -> None:
    import torch

    from hil.clio.slicing.recipe import slice_recipe
    from hil.clio.slicing.task import SlicingTask
    from hil.nn.train import fit

    for one in sets:
        odds = ", ".join(
            f"{n}: {p:.0%}" for n, p in zip(one.channels, one.probabilities, strict=True)
        )
        _say(f"cut {one.cut}: channels and probabilities {odds}")
    torch.manual_seed(settings.seed)
    task = SlicingTask(spec, sets, slice_recipe(recipe_name), weights)
    fit(task, settings, images, tests, out, _say, device)


def release(
    training: Annotated[Path, typer.Argument(help="Folder of `hil train` (last.pt and its log).")],
    test: Annotated[Path, typer.Option(help="Images on which accuracies are taken.")],
    out: Annotated[Path, typer.Option(help="Folder for the released files.")],
    calibration: Annotated[
        Path | None,
        typer.Option(help="Images that choose the integers' scales (default: the shipped ones)."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name (default: the folder's).")] = None,
    method: Annotated[str, typer.Option(help="Calibration: minmax, percentile or mse.")] = "mse",
) -> None:
    """Quantise a trained network to int8 and evaluate every split of it.

    A network with slices becomes one file, NAME.sliced.npz; a plain one NAME.npz and others.
    """
    from hil.nn.data.images import load_images
    from hil.nn.stored import made_folder

    made_folder(out)
    name = name or training.resolve().name
    if _has_slices(training / "last.pt"):
        _release_slices(training, test, out, calibration, name, method)
        return
    if calibration is not None:
        raise DataError(
            "--calibration is for networks with slices; put calibration images in --out"
        )
    import shutil

    from hil.nn import assets
    from hil.nn.release import release as write_release

    for file in (assets.CALIBRATION, assets.SAMPLES):
        if not (out / file).exists():
            shutil.copyfile(assets.FOLDER / file, out / file)
    result = write_release(
        training / "last.pt",
        training / "train_log.jsonl",
        load_images(test, "test"),
        out,
        name=name,
        method=method,
        report=_say,
    )
    _say(str(result))


def _has_slices(last_pt: Path) -> bool:
    from hil.clio.slicing.evaluate import is_slicing_run

    return is_slicing_run(last_pt)


def _release_slices(
    training: Path, test: Path, out: Path, calibration: Path | None, name: str, method: str
) -> None:
    from hil.clio.slicing.artifact import SUFFIX, save_artifact
    from hil.clio.slicing.evaluate import load_training, make_artifact
    from hil.nn import assets
    from hil.nn.data.images import load_images
    from hil.nn.training_log import read_log

    trained = load_training(training / "last.pt")
    side = trained.spec.image
    chosen = (
        assets.calibration_images()
        if calibration is None
        else load_images(calibration, "train", side)
    )
    artifact = make_artifact(
        trained,
        read_log(training / "train_log.jsonl"),
        chosen,
        load_images(test, "test", side),
        name,
        method,
        report=_say,
    )
    save_artifact(artifact, out / f"{name}{SUFFIX}")
    _say(f"{out / (name + SUFFIX)}: {(out / (name + SUFFIX)).stat().st_size} bytes")


def _say(text: str) -> None:
    print(text, flush=True)
