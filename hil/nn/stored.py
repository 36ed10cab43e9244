"""Reading files that others wrote: a damaged one is a DataError with its name and the way out.

A file cut short, overwritten or of another kind makes ``zipfile``, NumPy and torch raise nearly
anything (struct.error, OSError, RuntimeError, NotImplementedError, UnpicklingError), so whatever
is raised while reading counts as damage here.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.core.errors import DataError

if TYPE_CHECKING:
    import torch

_LONGEST_REASON = 160  # characters


def read_arrays(path: Path, what: str, way_out: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz, without pickle.

    DataError for a file that is missing or cannot be read; ``what`` names its kind and
    ``way_out`` tells how to get a good one.
    """
    _check_there(path, what, way_out)
    try:
        with np.load(path, allow_pickle=False) as pack:
            return {key: pack[key] for key in pack.files}
    except Exception as error:
        raise _unreadable(path, what, way_out, error) from error


def read_state(
    path: Path, what: str, way_out: str, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """The dictionary in a file of ``torch.save``, its tensors on ``device``; see ``read_arrays``.

    Only tensors, numbers, texts and containers of them are accepted, so no file can run code.
    """
    import torch  # takes seconds; files of arrays are read without it

    _check_there(path, what, way_out)
    try:
        state = torch.load(path, weights_only=True, map_location=device)
    except Exception as error:
        raise _unreadable(path, what, way_out, error) from error
    if not isinstance(state, dict):
        raise DataError(f"{path}: not a readable {what} (a {type(state).__name__}); {way_out}")
    return state


def made_folder(path: Path) -> Path:
    """``path``, made if it is not there. DataError if it is a file or cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be made a folder ({error.strerror}); choose another --out"
        ) from error
    return path


def _check_there(path: Path, what: str, way_out: str) -> None:
    if not path.exists():
        raise DataError(f"{path}: no such {what}; {way_out}")


def _unreadable(path: Path, what: str, way_out: str, error: Exception) -> DataError:
    return DataError(f"{path}: not a readable {what} ({_reason(error)}); {way_out}")


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # torch's own text advises to load it unsafely
        return "it is no torch file of tensors, numbers and texts"
    lines = str(error).strip().splitlines() or [repr(error)]
    return lines[0][:_LONGEST_REASON]
