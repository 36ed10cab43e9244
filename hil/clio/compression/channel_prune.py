"""Take channels out of a trained network; the rest computes as before.

Which channels stay is decided by what reads them: those with the largest sum of absolute weights
over all dense readers (AMC, He et al., ECCV 2018). Least squares then refits every 1x1
convolution and dense layer to the outputs it had, from the inputs it keeps. It needs no images
beyond one pass: with inputs X (rows are pixels) and outputs ``X W``, the best weights for the
kept columns K solve ``G[K, K] V = G[K, :] W``, where ``G = X' X`` is taken once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hil.clio.compression.structure import (
    DENSE,
    Counts,
    Kind,
    LayerShape,
    Structure,
    resized,
    structure_of,
)
from hil.core.errors import ModelError
from hil.nn.zoo import ModelSpec, build_model, normalise

Weights = dict[str, np.ndarray]
# Kept channels of a group, ascending.
Keep = Mapping[int, np.ndarray]
# Added to the diagonal of G: dead channels make it singular, and channels can be alike. Relative
# to each channel's own power, and to the mean power for channels that have none.
_DAMPING, _DAMPING_DEAD = 1e-6, 1e-12


@dataclass(frozen=True, eq=False)
class Grams:
    """``X' X`` of the input of every layer that can be refitted, by layer name (float64)."""

    of: dict[str, np.ndarray]
    data_digest: str


def importance(structure: Structure, weights: Weights, group: int) -> np.ndarray:
    """Sum of |weight| over all dense readers, one value a channel of ``group``."""
    size = structure.sizes[group]
    total = np.zeros(size)
    for layer in structure.readers(group):
        array = np.abs(weights[f"{layer.name}.weight"].astype(np.float64))
        total += array.reshape(len(array), size, -1).sum((0, 2))
    return total


def select(structure: Structure, weights: Weights, counts: Counts) -> dict[int, np.ndarray]:
    """The most important channels of every group; of equal ones the first."""
    keep = {}
    for group, (size, wanted) in enumerate(zip(structure.sizes, counts, strict=True)):
        if not 1 <= wanted <= size:
            raise ModelError(f"group {group} has {size} channels; cannot keep {wanted}")
        keep[group] = np.arange(size)
        if wanted < size:
            order = np.argsort(-importance(structure, weights, group), kind="stable")
            keep[group] = np.sort(order[:wanted])
    return keep


def slice_weights(
    structure: Structure, weights: Weights, keep: Keep, grams: Grams | None = None
) -> Weights:
    """The weights between kept channels; with ``grams``, refitted where inputs were dropped."""
    sliced = dict(weights)
    for layer in structure.layers:
        if layer.kind in (Kind.ADD, Kind.POOL):
            continue
        made = keep[layer.makes]
        for name in ("bias", "running_mean", "running_var"):
            key = f"{layer.name}.{name}"
            if key in weights:
                sliced[key] = weights[key][made]
        key = f"{layer.name}.weight"
        if key in weights:
            array = weights[key][made]
            sliced[key] = _inputs(layer, array, keep, grams) if layer.kind in DENSE else array
    return sliced


def prune(
    spec: ModelSpec, weights: Weights, counts: Counts, grams: Grams | None = None
) -> tuple[ModelSpec, Weights]:
    """The narrower network with these group sizes, and its weights.

    ModelError if ``counts`` does not fit ``spec``.
    """
    structure = structure_of(spec)
    keep = select(structure, weights, counts)
    return resized(spec, counts), slice_weights(structure, weights, keep, grams)


def loaded(spec: ModelSpec, weights: Weights) -> nn.Module:
    """A network with these weights, in evaluation mode."""
    model = build_model(spec)
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
    return model.eval()


def take_grams(spec: ModelSpec, weights: Weights, images: np.ndarray, digest: str) -> Grams:
    """One pass over calibration ``images`` (uint8 NHWC) through the unpruned network."""
    model = loaded(spec, weights)
    grams: dict[str, np.ndarray] = {}
    handles = []
    for layer in structure_of(spec).layers:
        if _refittable(layer):
            module = model.get_submodule(layer.name)
            handles.append(module.register_forward_pre_hook(_adder(grams, layer)))
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            model(normalise(images[start : start + 64]))
    for handle in handles:
        handle.remove()
    return Grams(grams, digest)


def _refittable(layer: LayerShape) -> bool:
    """1x1 convolutions and dense layers on one pixel, as in AMC's code."""
    return layer.kind in DENSE and layer.area == 1


def _adder(grams: dict[str, np.ndarray], layer: LayerShape):
    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0]
        if x.ndim == 4:
            x = x[:, :, :: layer.stride, :: layer.stride].movedim(1, -1).flatten(0, 2)
        x = x.double()
        grams[layer.name] = grams.get(layer.name, 0.0) + (x.T @ x).numpy()

    return add


def _inputs(layer: LayerShape, array: np.ndarray, keep: Keep, grams: Grams | None) -> np.ndarray:
    """``array`` (outputs already chosen) for the kept inputs only."""
    kept = keep[layer.reads]
    if layer.kind is Kind.LINEAR:  # torch flattens (channel, pixel)
        columns = (kept[:, None] * layer.area + np.arange(layer.area)).ravel()
    else:
        columns = kept
    if grams is None or layer.name not in grams.of or len(columns) == array.shape[1]:
        return array[:, columns]
    gram = grams.of[layer.name]
    inner = gram[np.ix_(columns, columns)]
    power = np.diag(inner)
    inner = inner + np.diag(_DAMPING * power + _DAMPING_DEAD * power.mean() + 1e-30)
    flat = array.reshape(len(array), -1).astype(np.float64)
    fitted = np.linalg.solve(inner, gram[columns] @ flat.T).T
    return fitted.reshape(len(array), len(columns), *array.shape[2:]).astype(array.dtype)
