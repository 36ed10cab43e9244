"""A model as a chain of units: its blocks, then its head. Slicing and pruning work on chains.

A model qualifies if it is an ``nn.Sequential``, or has ``blocks`` (an ``nn.Sequential``) and a
method ``head()`` that gives what follows them as one. Running the units one after the other
must equal the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hil.core.errors import ModelError
from hil.nn.blocks import BlockNames
from hil.nn.capture import capture
from hil.nn.float_graph import FloatGraph


def chain(model: nn.Module) -> list[nn.Module]:
    """The units of ``model`` in order, its own modules and not copies; the head is the last.

    Raises ModelError for a model that is not such a chain.
    """
    if isinstance(model, nn.Sequential):
        return list(model)
    blocks, head = getattr(model, "blocks", None), getattr(model, "head", None)
    if not isinstance(blocks, nn.Sequential) or not callable(head):
        raise ModelError(
            f"{type(model).__name__} is not a chain of blocks: it needs to be an nn.Sequential, or "
            "to have .blocks (nn.Sequential) and a method head() giving what follows them"
        )
    return [*blocks, head()]


def cut_units(model: nn.Module, image: int) -> dict[str, int]:
    """Cut name -> units of ``chain`` before it, for every cut between two of them, in order.

    ModelError if the model cannot be captured for 3 x ``image`` x ``image`` or is no chain.
    """
    chain(model)  # what is none is told so, and not why it cannot be captured
    return captured_cut_units(model, capture(model, image, type(model).__name__))


def captured_cut_units(model: nn.Module, graph: FloatGraph) -> dict[str, int]:
    """The same, from ``model`` as it was captured."""
    names, units = BlockNames(model), chain(model)
    found: dict[str, int] = {}
    for cut in graph.cuts:
        block = names.block_of(graph.layers[cut.layers - 1].module) if cut.layers else None
        if block is not None:
            number = int(block[0].rpartition(".")[2]) + 1
            if number < len(units):
                found[cut.name] = number
    return found


def check_sliceable(model: nn.Module, graph: FloatGraph, cuts: Sequence[str]) -> None:
    """ModelError, with a list of those it has, unless ``model`` has units behind every cut."""
    known = captured_cut_units(model, graph)
    for cut in cuts:
        if cut not in known:
            raise ModelError(f"{graph.name}: no cut {cut!r} to slice; known: {', '.join(known)}")
