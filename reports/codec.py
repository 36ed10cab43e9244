"""Frozen dataclasses <-> plain JSON data, guided by their type hints.

One generic pair instead of two methods a class. Reading is strict: an unknown key, a missing
one or a value of another type is refused with its place, because a report of half-read data
would look as trustworthy as a whole one.
"""

from __future__ import annotations

import base64
import types
import typing
import zlib
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

import numpy as np

from hil.core.errors import DataError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dicts, lists, numbers, strings and None; arrays are packed."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, np.ndarray):
        return _pack(value)
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    return value


def from_plain(kind: type[T], data: Any, place: str) -> T:
    """A ``kind`` from what ``to_plain`` made of it; DataError names the ``place``."""
    return _read(kind, data, place)


def _read(kind: Any, data: Any, place: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (arg for arg in get_args(kind) if arg is not type(None))
        return None if data is None else _read(inner, data, place)
    if origin is tuple:
        return _read_tuple(get_args(kind), data, place)
    if origin is dict:
        key, value = get_args(kind)
        items = _expect(dict, data, place).items()
        return {_read(key, k, place): _read(value, v, f"{place}.{k}") for k, v in items}
    if kind is np.ndarray:
        return _unpack(data, place)
    if is_dataclass(kind):
        return _read_dataclass(kind, data, place)
    if issubclass(kind, StrEnum):
        return _read_enum(kind, data, place)
    return _expect(kind, data, place)


def _read_tuple(args: tuple[Any, ...], data: Any, place: str) -> tuple[Any, ...]:
    item = args[0]  # only tuple[X, ...] occurs in the model
    return tuple(_read(item, x, f"{place}[{i}]") for i, x in enumerate(_expect(list, data, place)))


def _read_dataclass(kind: Any, data: Any, place: str) -> Any:
    given = _expect(dict, data, place)
    hints, required = _shape(kind)
    unknown = given.keys() - hints.keys()
    if unknown:
        raise DataError(f"{place}: unknown field {', '.join(sorted(unknown))}")
    missing = required - given.keys()
    if missing:
        raise DataError(f"{place}: field {', '.join(sorted(missing))} is missing")
    return kind(**{n: _read(hints[n], value, f"{place}.{n}") for n, value in given.items()})


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Types of a dataclass' fields, and the fields without a default."""
    hints = typing.get_type_hints(kind)
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    return {f.name: hints[f.name] for f in fields(kind)}, frozenset(needed)


def _read_enum(kind: type[StrEnum], data: Any, place: str) -> StrEnum:
    try:
        return kind(data)
    except ValueError as error:
        names = ", ".join(kind)
        raise DataError(f"{place}: {data!r} is none of {names}") from error


def _expect(kind: type, data: Any, place: str) -> Any:
    # JSON writers drop the ".0" of a whole number; nothing else is taken for a float.
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (kind in (int, float) and isinstance(data, bool)):
        raise DataError(f"{place}: {kind.__name__} expected, got {data!r:.60}")
    return data


def _pack(array: np.ndarray) -> dict[str, Any]:
    packed = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6))
    return {"dtype": array.dtype.str, "shape": list(array.shape), "zlib": packed.decode()}


def _unpack(data: Any, place: str) -> np.ndarray:
    given = _expect(dict, data, place)
    try:
        raw = zlib.decompress(base64.b64decode(given["zlib"], validate=True))
        dtype = np.dtype(given["dtype"])
        if dtype.hasobject:
            raise ValueError("an array of objects")
        return np.frombuffer(raw, dtype).reshape(given["shape"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise DataError(f"{place}: not a packed array: {error!r}") from error
