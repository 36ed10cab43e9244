"""Labelled image sets: frozen arrays with a digest, read from packs, trees and archives."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from hil.core.errors import DataError
from hil.nn.data.cifar10 import holds_cifar10, read_cifar10
from hil.nn.data.decode import check_size, decode_images, resize_images
from hil.nn.data.tree import read_tree
from hil.nn.stored import read_arrays

SPLITS = ("train", "test")


@dataclass(frozen=True)
class ImageSet:
    """Images ``x`` uint8 (N, H, W, 3) with labels ``y`` int64 (N,).

    ``classes`` are the names by label where the source has names, else empty.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shaped = self.x.ndim == 4 and self.x.shape[3] == 3 and (self.x.size > 0 or len(self.x) == 0)
        if not shaped or self.x.dtype != np.uint8:
            raise DataError(
                f"{self.name}: images must be uint8 (N, H, W, 3), not {self.x.dtype} {self.x.shape}"
            )
        if self.y.ndim != 1 or self.y.dtype.kind not in "iu":
            raise DataError(
                f"{self.name}: labels must be integers (N,), not {self.y.dtype} {self.y.shape}"
            )
        if len(self.x) != len(self.y) or len(self.x) == 0:
            raise DataError(f"{self.name}: {len(self.x)} images with {len(self.y)} labels")
        limit = len(self.classes) or np.iinfo(np.int64).max
        if not 0 <= self.y.min() <= self.y.max() < limit:
            raise DataError(
                f"{self.name}: labels from {self.y.min()} to {self.y.max()}; they must count from "
                f"0{f' to {limit - 1}' if self.classes else ''}"
            )
        object.__setattr__(self, "y", self.y.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over pixels and labels: the data's identity, whatever file it came from."""
        sha = hashlib.sha256(np.ascontiguousarray(self.x).reshape(-1).data)
        sha.update(self.y.astype("<i8").tobytes())
        return sha.hexdigest()

    def take(self, count: int) -> ImageSet:
        """The first ``count`` images."""
        return replace(self, x=self.x[:count], y=self.y[:count])

    def spread(self, count: int) -> ImageSet:
        """``count`` images at even distances: of each class, if a set is sorted by class."""
        index = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int)
        return replace(self, x=self.x[index], y=self.y[index])

    def where(self, chosen: np.ndarray) -> ImageSet:
        """The images for which the bool array ``chosen`` (N,) is true."""
        return replace(self, x=self.x[chosen], y=self.y[chosen])


def load_images(path: Path, split: str = "train", size: int | None = None) -> ImageSet:
    """Read an npz pack, an ImageNet folder tree, or an official CIFAR-10 archive or folder.

    Packs hold either ``x`` and ``y`` or JPEG files (``blob``, ``offsets``, ``labels``) and are
    one set, whatever ``split``. Trees are described in ``hil.nn.data.tree``; ``split`` ("train"
    or "test") chooses their folder, and the batches of CIFAR-10.
    ``size`` (pixels) resizes every image so that its shorter side is ``size`` and keeps the
    square in the middle; without it all images must be of one size already.
    Raises DataError naming the file and what is wrong with it.
    """
    path = Path(path)
    check_size(size)
    if split not in SPLITS:
        raise DataError(f"{path}: split must be 'train' or 'test', not {split!r}")
    if not path.exists():
        raise DataError(
            f"{path}: no such file or folder; name a .npz pack, a folder of class folders or a "
            "CIFAR-10 archive"
        )
    if path.suffix == ".npz":
        return _load_pack(path, size)
    if path.is_dir() and not holds_cifar10(path):
        x, y, classes = read_tree(path, split, size)
        return ImageSet(f"{path.name}-{split}", x, y, classes)
    x, y = read_cifar10(path, split)
    return ImageSet(f"cifar10-{split}", resize_images(x, size), y)


def concatenate(sets: list[ImageSet]) -> ImageSet:
    """One set out of several, in the given order. Raises DataError if sizes or classes differ."""
    first = sets[0]
    for other in sets[1:]:
        if other.x.shape[1:] != first.x.shape[1:]:
            raise DataError(
                f"{first.name} has images of {first.x.shape[1:3]}, {other.name} of "
                f"{other.x.shape[1:3]} pixels; load both at one size"
            )
        if other.classes != first.classes:
            raise DataError(f"{first.name} and {other.name} do not name the same classes")
    if len(sets) == 1:
        return first
    return ImageSet(
        "+".join(s.name for s in sets),
        np.concatenate([s.x for s in sets]),
        np.concatenate([s.y for s in sets]),
        first.classes,
    )


def check_same_classes(train: ImageSet, test: ImageSet) -> None:
    """Raises DataError unless both sets have images of the same classes, numbered alike."""
    where = f"{train.name} and {test.name}"
    if train.classes and test.classes and train.classes != test.classes:
        once = sorted({*train.classes} ^ {*test.classes})
        what = f"only one has {', '.join(once)}" if once else "they number them differently"
        raise DataError(f"{where} do not have the same classes: {what}")
    once = np.setxor1d(train.y, test.y).tolist()
    if once:
        raise DataError(f"{where} do not have the same classes: only one has labels {once}")


def split(images: ImageSet, held_out: float | int, seed: int) -> tuple[ImageSet, ImageSet]:
    """(rest, held out): a share (float below 1) or a number (int) of images set aside.

    Every class gives the same share, rounded so that the number comes out. The choice depends
    on ``seed`` and the labels only; both parts keep the order of ``images``. Raises DataError
    if a class would be absent from one part.
    """
    total = len(images)
    labels, sizes = np.unique(images.y, return_counts=True)
    quotas = np.zeros_like(sizes)
    if 0 < held_out < total:  # not so for nan
        whole = isinstance(held_out, int | np.integer)
        count = int(held_out) if whole else math.floor(held_out * total + 0.5)
        quotas, remainders = np.divmod(sizes * count, total)
        quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    if quotas.min() < 1 or (sizes - quotas).min() < 1:
        raise DataError(
            f"{images.name}: cannot hold out {held_out} of {total} images in {len(labels)} "
            f"classes (the smallest of {sizes.min()}): each class needs an image on both sides"
        )
    rng = np.random.default_rng(seed)
    chosen = np.zeros(total, bool)
    for label, quota in zip(labels, quotas, strict=True):
        chosen[rng.permutation(np.flatnonzero(images.y == label))[:quota]] = True
    return images.where(~chosen), replace(images.where(chosen), name=f"{images.name}-held-out")


def _load_pack(path: Path, size: int | None) -> ImageSet:
    arrays = read_arrays(path, "npz pack", "fetch or write it again")
    if {"x", "y"} <= arrays.keys():
        whole = ImageSet(path.stem, arrays["x"], arrays["y"])
        return replace(whole, x=resize_images(whole.x, size))
    if {"blob", "offsets", "labels"} <= arrays.keys():
        x = _decode_blob(path, arrays["blob"], arrays["offsets"], size)
        return ImageSet(path.stem, x, arrays["labels"])
    raise DataError(f"{path}: holds {sorted(arrays)}; expected x, y or blob, offsets, labels")


def _decode_blob(path: Path, blob: np.ndarray, offsets: np.ndarray, size: int | None) -> np.ndarray:
    """Image ``i`` is the file in bytes ``offsets[i]`` to ``offsets[i + 1]`` of ``blob``."""
    if blob.dtype != np.uint8 or offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        raise DataError(
            f"{path}: blob must be uint8 and offsets integers (N + 1,), not {blob.dtype} and "
            f"{offsets.dtype} {offsets.shape}"
        )
    files = (
        (f"image {i}", io.BytesIO(blob[start:stop].tobytes()))
        for i, (start, stop) in enumerate(itertools.pairwise(offsets))
    )
    return decode_images(str(path), files, len(offsets) - 1, size)
