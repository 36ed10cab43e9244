"""A user's own torch model, named as FILE.py:FUNCTION."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch import nn

from hil.core.errors import DataError


def load_user_model(place: str) -> nn.Module:
    """Run FILE.py and call FUNCTION without arguments; it returns the module, weights loaded.

    This runs the file's code, as Python's import does. DataError says what is missing or what
    the function returned instead.
    """
    file, _, function = place.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise DataError(f"{path}: no such file; name a model as FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path}: not a Python file; name a model as FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        build = getattr(module, function)
        model = build()
    except Exception as error:
        raise DataError(f"{path}:{function} fails with {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise DataError(f"{path}:{function} returns {type(model).__name__}, not a torch module")
    return model.eval()
