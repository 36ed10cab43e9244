"""Network + board -> C: plan (all arithmetic), validate, render (layout only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from codegen.arena import ArenaPlan, plan_arena
from codegen.backend import LayerPlan
from codegen.backends import backend_for
from codegen.budget import arena_regions, check_scratch, constant_bytes
from codegen.constants import constant_text
from codegen.names import layer_facts, shape_text, tensor_macro
from codegen.protocol import protocol_header
from codegen.render import render
from hil.core.board import Board
from hil.core.energyrunner import BAUD, Image, Mode
from hil.core.errors import PlanError
from hil.core.network import Cut, Network

MAX_LAYERS = 128  # static tables of boards/common/runner.h; one RUN answer fits a frame
NAME_BYTES = 32  # network name field of the console's identity, with its closing zero


class Console(Enum):
    """Which console an image has; ``value`` are its own files of boards/common."""

    FRAMES = ("console.c", "runner.c", "timing.c")
    ENERGYRUNNER = ("energyrunner.c",)


@dataclass(frozen=True, eq=False)
class Sources:
    """Generated C of one image. ``files``: name -> text, in a fixed order."""

    board: str
    network: str
    network_digest: str
    layers: int
    files: dict[str, str]
    arena: ArenaPlan
    plans: tuple[LayerPlan, ...]
    scratch_bytes: int
    weight_bytes: int
    console: Console


@dataclass(frozen=True)
class CutFit:
    """Whether a cut's device part fits a board; ``reason`` is empty when it does."""

    cut: Cut
    fits: bool
    reason: str


def generate(
    network: Network, board: Board, layers: int | None = None, energyrunner: Image | None = None
) -> Sources:
    """C of the first ``layers`` layers (all of them by default).

    With ``energyrunner`` the image speaks that protocol (docs/energyrunner.md) instead of the
    bench's frames, and always holds the whole network. PlanError names the layer, memory and
    bytes when they do not fit the board.
    """
    layers = len(network.layers) if layers is None else layers
    _validate(network, layers)
    plans = plan_layers(network, board, layers)
    if energyrunner is not None and layers != len(network.layers):
        raise PlanError(
            f"{network.name}: an EnergyRunner image answers with the network's result, so all "
            f"{len(network.layers)} layers must be in it, not {layers}"
        )
    return _render_sources(network, board, plans, _place(network, board, plans), energyrunner)


def plan_layers(network: Network, board: Board, layers: int) -> tuple[LayerPlan, ...]:
    """Plans of the first ``layers`` layers, each checked against the board's scratch memory."""
    backend = backend_for(board.name)
    plans = []
    for index in range(layers):
        plan = backend.plan_layer(network, index, board)
        check_scratch(plan, board, network.layers[index].name)
        plans.append(plan)
    return tuple(plans)


def feasible_cuts(network: Network, board: Board) -> tuple[CutFit, ...]:
    """Every cut of the network, in its order, and whether its device part fits the board.

    A cut with no layer on the device always fits: the raw input is sent.
    """
    plans: list[LayerPlan] = []
    refused = ""  # why planning stopped; every deeper cut has the same reason
    fits: dict[int, CutFit] = {}
    for cut in sorted(network.cuts, key=lambda c: c.layers):
        try:
            backend = backend_for(board.name)
            if cut.layers > 0:
                _validate(network, cut.layers)
            while not refused and len(plans) < cut.layers:
                plan = backend.plan_layer(network, len(plans), board)
                check_scratch(plan, board, network.layers[len(plans)].name)
                plans.append(plan)
            if not refused and cut.layers > 0:
                _place(network, board, plans)
            fits[cut.layers] = CutFit(cut, not refused, refused)
        except PlanError as error:
            refused = str(error) if len(plans) < cut.layers else ""
            fits[cut.layers] = CutFit(cut, False, str(error))
    return tuple(CutFit(c, fits[c.layers].fits, fits[c.layers].reason) for c in network.cuts)


def largest_prefix(network: Network, board: Board) -> Cut:
    """The deepest cut whose device part fits; PlanError with the shallowest one's reason."""
    cuts = [fit for fit in feasible_cuts(network, board) if fit.cut.layers > 0]
    fitting = [fit.cut for fit in cuts if fit.fits]
    if not fitting:
        reason = min(cuts, key=lambda f: f.cut.layers).reason if cuts else "it has no cuts"
        raise PlanError(f"{network.name} fits {board.name} at no cut: {reason}")
    return max(fitting, key=lambda cut: cut.layers)


def _validate(network: Network, layers: int) -> None:
    if not 1 <= layers <= len(network.layers):
        raise PlanError(
            f"{network.name}: asked for {layers} layers, it has 1 to {len(network.layers)}"
        )
    if layers > MAX_LAYERS:
        raise PlanError(f"{network.name}: {layers} layers, the firmware holds {MAX_LAYERS}")
    if not network.name.isascii() or not 0 < len(network.name) < NAME_BYTES:
        raise PlanError(
            f"network name {network.name!r} must be 1 to {NAME_BYTES - 1} ASCII characters"
        )


def _place(network: Network, board: Board, plans: Sequence[LayerPlan]) -> ArenaPlan:
    return plan_arena(network, len(plans), arena_regions(network, board, plans))


def _render_sources(
    network: Network,
    board: Board,
    plans: Sequence[LayerPlan],
    arena: ArenaPlan,
    energyrunner: Image | None,
) -> Sources:
    scratch_bytes = max(plan.scratch_bytes for plan in plans)
    common = {
        "network": network,
        "board": board,
        "plans": plans,
        "layers": [layer_facts(network, i) for i in range(len(plans))],
        "tensors": _tensor_rows(network, arena),
        "arenas": list(arena.used_bytes.items()),
        "scratch_bytes": scratch_bytes,
        "constant_text": constant_text,
        "input_bytes": network.tensors[0].size_bytes,
    }
    files = {
        "console_link.h": render("common/console_link.h.j2", baud=_baud(board, energyrunner)),
        "console_protocol.h": protocol_header(),
        "layers.h": render("common/layers.h.j2", **common),
        "network.c": render("common/network.c.j2", **common),
        "weights.c": render("common/weights.c.j2", **common),
    }
    if energyrunner is not None:
        files["energyrunner_config.h"] = _energyrunner_config(network, board, energyrunner)
    for index, plan in enumerate(plans):
        files[f"{plan.function}.c"] = render_layer(network, index, plan)
    return Sources(
        board=board.name,
        network=network.name,
        network_digest=network.digest,
        layers=len(plans),
        files=files,
        arena=arena,
        plans=tuple(plans),
        scratch_bytes=scratch_bytes,
        weight_bytes=constant_bytes(plans),
        console=Console.FRAMES if energyrunner is None else Console.ENERGYRUNNER,
    )


def _baud(board: Board, energyrunner: Image | None) -> int:
    return board.baud if energyrunner is None else BAUD[energyrunner.mode]


def _energyrunner_config(network: Network, board: Board, image: Image) -> str:
    result = network.tensors[-1]
    return render(
        "common/energyrunner_config.h.j2",
        network=network,
        board=board,
        image=image,
        energy_mode=int(image.mode is Mode.ENERGY),
        input_flip=0x80 if network.tensors[0].signed else 0,
        output_shape=shape_text(result),
        result_type=result.c_type,
    )


def render_layer(network: Network, index: int, plan: LayerPlan) -> str:
    """The C file of one layer."""
    framework = {
        "function": plan.function,
        "layer": layer_facts(network, index),
        "inputs": tuple(tensor_macro(t) for t in network.layers[index].inputs),
        "output": tensor_macro(index + 1),
    }
    clash = framework.keys() & plan.context.keys()
    if clash:
        raise PlanError(f"{plan.template}: context redefines {', '.join(sorted(clash))}")
    return render(plan.template, **framework, **plan.context)


def _tensor_rows(network: Network, arena: ArenaPlan) -> list[dict[str, object]]:
    return [
        {
            "macro": tensor_macro(place.tensor),
            "c_type": network.tensors[place.tensor].c_type,
            "region": place.region,
            "offset": place.offset,
            "size_bytes": place.size_bytes,
            "shape": shape_text(network.tensors[place.tensor]),
        }
        for place in arena.placements
    ]
