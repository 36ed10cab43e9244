"""Blocks of a model and readable layer names, both from module paths.

Blocks are the children of ``model.blocks`` or, without it, of every top-level
``nn.Sequential`` (of the model itself, if it is one). A network may be cut between blocks
only, as in the paper.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from hil.core.network import Op
from hil.nn.float_graph import FloatLayer

_LAYER_WORDS = {Op.ADD: "add", Op.AVGPOOL: "pool", Op.MAXPOOL: "pool"}


class BlockNames:
    """Which block a module path belongs to, and what to call it."""

    def __init__(self, model: nn.Module):
        self.containers = self._containers(model)

    @staticmethod
    def _containers(model: nn.Module) -> tuple[str, ...]:
        """Paths of the modules whose children are blocks."""
        if isinstance(model, nn.Sequential):
            return ("",)
        if isinstance(getattr(model, "blocks", None), nn.Sequential | nn.ModuleList):
            return ("blocks",)
        return tuple(
            name for name, child in model.named_children() if isinstance(child, nn.Sequential)
        )

    def block_of(self, path: str) -> tuple[str, str] | None:
        """(path of the block, rest of the path), or None outside all blocks."""
        for container in self.containers:
            prefix = f"{container}." if container else ""
            if path.startswith(prefix) and len(path) > len(prefix):
                child, _, rest = path[len(prefix) :].partition(".")
                return prefix + child, rest
        return None

    def block_ends(self, layers: Sequence[FloatLayer]) -> list[tuple[str, int]]:
        """(name, number of layers up to its end) of each block that has layers, in order."""
        names = self._block_names(layers)
        ends: dict[str, int] = {}
        for i, layer in enumerate(layers):
            block = self.block_of(layer.module)
            if block is not None:
                ends[block[0]] = i + 1
        return [(names[path], end) for path, end in ends.items()]

    def layer_names(self, layers: Sequence[FloatLayer]) -> list[str]:
        """Names such as stem, block3.expand, block3.add, pool, classifier.

        Letters, digits, underscores and dots, not starting with a digit, and different from
        each other even when dots become underscores.
        """
        names = self._block_names(layers)
        taken: set[str] = set()
        result = []
        for layer in layers:
            plain = name = self._layer_name(layer, names)
            count = 1
            while name.replace(".", "_") in taken:
                count += 1
                name = f"{plain}.{count}"
            taken.add(name.replace(".", "_"))
            result.append(name)
        return result

    def _layer_name(self, layer: FloatLayer, names: dict[str, str]) -> str:
        block = self.block_of(layer.module)
        head, rest = ("", layer.module) if block is None else (names[block[0]], block[1])
        words = [word for word in rest.split(".") if word and not word.isdigit()]
        # Numbered children and what forward() calls itself, such as a skip's addition.
        if not words and layer.op in _LAYER_WORDS:
            words = [_LAYER_WORDS[layer.op]]
        parts = ([head] if head else []) + words
        name = re.sub(r"[^A-Za-z0-9_.]", "_", ".".join(parts)) or layer.op.value
        return f"layer{name}" if name[0].isdigit() else name

    def _block_names(self, layers: Sequence[FloatLayer]) -> dict[str, str]:
        """Names by block path: singular of the container plus the index.

        A first block of one convolution (and its pool) and a last of one are what papers call
        stem and head.
        """
        contents: dict[str, list[Op]] = {}
        for layer in layers:
            block = self.block_of(layer.module)
            if block is not None:
                contents.setdefault(block[0], []).append(layer.op)
        names = {path: self._plain_name(path) for path in contents}
        paths = list(contents)
        if len(paths) > 2 and len(self.containers) == 1:
            if contents[paths[0]] in ([Op.CONV], [Op.POINTWISE], [Op.CONV, Op.MAXPOOL]):
                names[paths[0]] = "stem"
            if contents[paths[-1]] in ([Op.CONV], [Op.POINTWISE]):
                names[paths[-1]] = "head"
        return names

    @staticmethod
    def _plain_name(path: str) -> str:
        container, _, child = path.rpartition(".")
        if not child.isdigit():
            return child
        stem = container or "block"
        if stem.endswith("s") and not stem.endswith("ss"):
            stem = stem[:-1]
        # layer1.0 of a ResNet: the container's own number stays readable.
        return f"{stem}_{child}" if stem[-1].isdigit() else f"{stem}{child}"
