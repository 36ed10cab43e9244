"""CIFAR-10 as its authors distribute it: a tar archive or folder, Python or binary version."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hil.core.errors import DataError

CLASSES = 10
_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
_BATCHES = {"train": _TRAIN, "test": ("test_batch",)}


def holds_cifar10(folder: Path) -> bool:
    """Whether a batch file lies anywhere in ``folder``."""
    return next(_batch_files(folder), None) is not None


def read_cifar10(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 32, 32, 3) and labels int64 (N,) of ``split`` ("train" or "test").

    Raises DataError for a batch that is missing, truncated or damaged.
    """
    members = _members(path)
    xs, ys = [], []
    for name in _BATCHES[split]:
        if name in members:
            x, y = _parse_pickled_batch(path, name, members[name])
        elif f"{name}.bin" in members:
            x, y = _parse_binary_batch(path, name, members[f"{name}.bin"])
        else:
            raise DataError(f"{path}: CIFAR-10 batch {name} is missing; found {sorted(members)}")
        if y.size and not 0 <= y.min() <= y.max() < CLASSES:
            raise DataError(
                f"{path}: batch {name} has labels from {y.min()} to {y.max()}, not 0 to 9; damaged?"
            )
        xs.append(x)
        ys.append(y)
    return np.concatenate(xs), np.concatenate(ys)


def _batch_files(folder: Path) -> Iterator[Path]:
    names = {name + end for batch in _BATCHES.values() for name in batch for end in ("", ".bin")}
    return (p for p in folder.rglob("*_batch*") if p.name in names and p.is_file())


def _members(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(_batch_files(path))}
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
