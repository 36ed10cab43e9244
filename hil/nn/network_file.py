"""A quantised network as one .npz file: a JSON header and the parameter arrays.

Format 1: ``header`` is UTF-8 JSON as bytes (format, name, tensors, layers, cuts, digest); the
arrays of layer i are ``<i>.weight``, ``<i>.bias``, ``<i>.multiplier`` and ``<i>.shift``. The
digest is the network's own; a file whose content does not give it again is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hil.core.errors import DataError, ModelError
from hil.core.network import Cut, Layer, Network, Op, Tensor
from hil.nn.stored import read_arrays

FORMAT = 1
_ARRAYS = ("weight", "bias", "multiplier", "shift")


def save_network(network: Network, path: Path) -> None:
    """Write ``network``; the file appears whole or not at all."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        arrays: dict[str, Any] = network_arrays(network)
        np.savez_compressed(file, **arrays)
    temporary.replace(path)


def network_arrays(network: Network) -> dict[str, np.ndarray]:
    """The network as named arrays, the header among them: what a file of it holds."""
    arrays = {
        f"{i}.{key}": array
        for i, layer in enumerate(network.layers)
        for key in _ARRAYS
        if (array := getattr(layer, key)) is not None
    }
    return {"header": np.frombuffer(json.dumps(_header(network)).encode(), np.uint8), **arrays}


def load_network(path: Path) -> Network:
    """Read a network back. Raises DataError for a missing, damaged or foreign file."""
    path = Path(path)
    arrays = read_arrays(path, "network file", "`hil release` writes one")
    return network_of_arrays(arrays, str(path))


def network_of_arrays(arrays: dict[str, np.ndarray], place: str) -> Network:
    """The network that ``network_arrays`` made; DataError, naming ``place``, if it is damaged."""
    try:
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != FORMAT:
            raise DataError(
                f"{place}: network file format {header['format']}; this version reads {FORMAT}"
            )
        network = _network(header, arrays)
    except (KeyError, IndexError, TypeError, ValueError, ModelError) as error:
        raise DataError(f"{place}: not a readable network file ({error!r})") from error
    if network.digest != header["digest"]:
        raise DataError(
            f"{place}: content has digest {network.digest[:16]}, header says "
            f"{header['digest'][:16]}; the file is damaged or was edited"
        )
    return network


def _header(network: Network) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": network.name,
        "digest": network.digest,
        "tensors": [[list(t.shape), t.scale, t.signed] for t in network.tensors],
        "layers": [
            {
                "name": layer.name,
                "op": layer.op.value,
                "inputs": list(layer.inputs),
                "kernel": list(layer.kernel),
                "stride": list(layer.stride),
                "pad": list(layer.pad),
                "clamp": list(layer.clamp),
            }
            for layer in network.layers
        ],
        "cuts": [[cut.name, cut.layers] for cut in network.cuts],
    }


def _network(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    tensors = tuple(
        Tensor(tuple(shape), scale, signed) for shape, scale, signed in header["tensors"]
    )
    layers = tuple(
        Layer(
            name=entry["name"],
            op=Op(entry["op"]),
            inputs=tuple(entry["inputs"]),
            kernel=tuple(entry["kernel"]),
            stride=tuple(entry["stride"]),
            pad=tuple(entry["pad"]),
            clamp=tuple(entry["clamp"]),
            **{key: arrays.get(f"{i}.{key}") for key in _ARRAYS},
        )
        for i, entry in enumerate(header["layers"])
    )
    cuts = tuple(Cut(name, count) for name, count in header["cuts"])
    return Network(header["name"], tensors, layers, cuts)
