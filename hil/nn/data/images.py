"""Labelled image sets: frozen arrays with a digest, read from packs and archives."""

from __future__ import annotations

import hashlib
import io
import itertools
import pickle
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from hil.core.errors import DataError


@dataclass(frozen=True)
class ImageSet:
    """Images ``x`` uint8 (N, H, W, 3) with labels ``y`` int64 (N,)."""

    name: str
    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        if self.x.ndim != 4 or self.x.shape[3] != 3 or self.x.dtype != np.uint8:
            raise DataError(
                f"{self.name}: images must be uint8 (N, H, W, 3), not {self.x.dtype} {self.x.shape}"
            )
        if len(self.x) != len(self.y) or len(self.x) == 0:
            raise DataError(f"{self.name}: {len(self.x)} images with {len(self.y)} labels")

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over pixels and labels: the data's identity, whatever file it came from."""
        sha = hashlib.sha256(np.ascontiguousarray(self.x).tobytes())
        sha.update(self.y.astype("<i8").tobytes())
        return sha.hexdigest()

    def take(self, count: int) -> ImageSet:
        """The first ``count`` images."""
        return ImageSet(self.name, self.x[:count], self.y[:count])


def load_images(path: Path, split: str = "train") -> ImageSet:
    """Read an npz pack, or an official CIFAR-10 archive or folder (python or binary version).

    Packs hold either ``x`` and ``y`` or JPEG files (``blob``, ``offsets``, ``labels``).
    ``split`` ("train" or "test") chooses the batches of a CIFAR-10 archive.
    Raises DataError naming the file and what is wrong with it.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; name a .npz pack or a CIFAR-10 archive")
    if path.suffix == ".npz":
        return _load_pack(path)
    return _load_cifar10(path, split)


def concatenate(sets: list[ImageSet]) -> ImageSet:
    """One set out of several, in the given order."""
    if len(sets) == 1:
        return sets[0]
    return ImageSet(
        "+".join(s.name for s in sets),
        np.concatenate([s.x for s in sets]),
        np.concatenate([s.y for s in sets]),
    )


def _load_pack(path: Path) -> ImageSet:
    try:
        with np.load(path) as pack:
            arrays = {key: pack[key] for key in pack.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a readable npz pack ({error})") from error
    if {"x", "y"} <= arrays.keys():
        return ImageSet(path.stem, arrays["x"], arrays["y"].astype(np.int64))
    if {"blob", "offsets", "labels"} <= arrays.keys():
        x = _decode_jpegs(path, arrays["blob"], arrays["offsets"])
        return ImageSet(path.stem, x, arrays["labels"].astype(np.int64))
    raise DataError(f"{path}: holds {sorted(arrays)}; expected x, y or blob, offsets, labels")


def _decode_jpegs(path: Path, blob: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    data = blob.tobytes()
    images = []
    for i, (start, stop) in enumerate(itertools.pairwise(offsets)):
        try:
            with Image.open(io.BytesIO(data[start:stop])) as image:
                images.append(np.asarray(image.convert("RGB")))
        except OSError as error:
            raise DataError(f"{path}: image {i} does not decode ({error})") from error
    return np.stack(images)


def _load_cifar10(path: Path, split: str) -> ImageSet:
    members = _cifar_members(path)
    wanted = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    xs, ys = [], []
    for name in wanted:
        if name in members:
            x, y = _parse_pickled_batch(path, name, members[name])
        elif f"{name}.bin" in members:
            x, y = _parse_binary_batch(path, name, members[f"{name}.bin"])
        else:
            raise DataError(f"{path}: CIFAR-10 batch {name} is missing; found {sorted(members)}")
        xs.append(x)
        ys.append(y)
    return ImageSet(f"cifar10-{split}", np.concatenate(xs), np.concatenate(ys))


def _cifar_members(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*_batch*")) if p.is_file()]
        return {p.name: p.read_bytes() for p in files}
    try:
        with tarfile.open(path) as archive:
            members = {}
            for member in archive.getmembers():
                name = Path(member.name).name
                if member.isfile() and "_batch" in name:
                    handle = archive.extractfile(member)
                    if handle is not None:
                        members[name] = handle.read()
            return members
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: not a readable CIFAR-10 archive ({error})") from error


class _ArraysOnly(pickle.Unpickler):
    """Unpickles what CIFAR-10 batches hold (NumPy arrays, lists, bytes) and no code."""

    _ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }
    )

    def find_class(self, module: str, name: str):
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 batch")
        return super().find_class(module, name)


# What the pickle module raises on damaged input is not one class (see its documentation).
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ImportError,
)


def _parse_pickled_batch(path: Path, name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        x, y = batch[b"data"], np.asarray(batch[b"labels"], dtype=np.int64)
    except _UNPICKLING_ERRORS as error:
        raise DataError(f"{path}: batch {name} is truncated or damaged ({error})") from error
    return _planes_to_nhwc(path, name, np.asarray(x, dtype=np.uint8)), y


def _parse_binary_batch(path: Path, name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    record = 1 + 3072
    if len(data) == 0 or len(data) % record:
        raise DataError(
            f"{path}: batch {name} has {len(data)} bytes, not a multiple of {record}; truncated?"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    return _planes_to_nhwc(path, name, rows[:, 1:]), rows[:, 0].astype(np.int64)


def _planes_to_nhwc(path: Path, name: str, rows: np.ndarray) -> np.ndarray:
    if rows.ndim != 2 or rows.shape[1] != 3072:
        raise DataError(f"{path}: batch {name} has rows of shape {rows.shape}, expected (N, 3072)")
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
