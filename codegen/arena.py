"""Places every activation of a network in the board's arena memories.

Two tensors may share bytes when their lifetimes do not meet. A tensor is born at the layer that
writes it and dies after its last reader. The input never dies (the next iteration reads it
again), nor does whatever is read beyond the last layer that runs on the board.

Placement is first fit: tensors in some order, each at the lowest free offset of the first
region that takes it. A few fixed orders are tried; when none fits, the tensor that failed moves
to the front of the order and all is tried again. Optimal packing is NP-hard; on MobileNetV2
this reaches the bound, the largest sum of tensors alive at once, when no more is given. Memory
that is there needs no saving: the search ends with the first orders that fit. No randomness: the
same network always gets the same map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hil.core.errors import PlanError
from hil.core.network import Network

ALIGNMENT_BYTES = 32  # a cache line of the Cortex-M7; more than any DMA here asks for
# Kernels may read (never write) this far past a tensor: word loads of odd channel counts.
OVERREAD_BYTES = 32
MAX_RETRIES = 200


@dataclass(frozen=True)
class Region:
    """A memory, or the part of it, that activations may take."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Lifetime:
    """Tensor ``tensor`` holds ``size_bytes`` during layers ``first`` to ``last``, inclusive."""

    tensor: int
    size_bytes: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are alive during some layer."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Placement:
    """Where a tensor lives: ``size_bytes`` from ``offset`` of region ``region``."""

    tensor: int
    region: str
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class ArenaPlan:
    """Placement of every tensor, and bytes used of every region that is used at all."""

    placements: tuple[Placement, ...]
    used_bytes: dict[str, int]
    peak_bytes: int
    peak_layer: int

    def of(self, tensor: int) -> Placement:
        """The placement of a tensor of the plan."""
        return self.placements[tensor]


def lifetimes(network: Network, layers: int) -> tuple[Lifetime, ...]:
    """Lifetimes of tensors 0..layers when the first ``layers`` layers run on the board."""
    beyond = network.crossing(layers) | {0, layers}
    last = {t: t - 1 for t in range(layers + 1)}
    for index, layer in enumerate(network.layers[:layers]):
        for tensor in layer.inputs:
            last[tensor] = index
    return tuple(
        Lifetime(
            tensor,
            network.tensors[tensor].size_bytes,
            max(tensor - 1, 0),
            layers if tensor in beyond else last[tensor],
        )
        for tensor in range(layers + 1)
    )


def plan_arena(network: Network, layers: int, regions: Sequence[Region]) -> ArenaPlan:
    """Places tensors 0..layers; PlanError names layer, memory and bytes when they do not fit."""
    lives = lifetimes(network, layers)
    usable = [Region(r.name, max(r.size_bytes - OVERREAD_BYTES, 0)) for r in regions]
    found = [p for p in (_first_fit(order, usable) for order in _orders(lives)) if p.complete]
    if not found:
        found = [_bump_until_fit(lives, usable)]
    best = min(found, key=lambda fit: sum(fit.used().values()))
    peak_bytes, peak_layer = _peak(lives, layers)
    if best.failed is not None:
        raise PlanError(_does_not_fit(network, best.failed, peak_bytes, peak_layer, usable))
    placements = tuple(sorted(best.placements, key=lambda p: p.tensor))
    return ArenaPlan(placements, best.used(), peak_bytes, peak_layer)


@dataclass(frozen=True)
class _Fit:
    placements: tuple[Placement, ...]
    failed: Lifetime | None

    @property
    def complete(self) -> bool:
        return self.failed is None

    def used(self) -> dict[str, int]:
        ends: dict[str, int] = {}
        for place in self.placements:
            end = _align(place.offset + place.size_bytes)
            ends[place.region] = max(ends.get(place.region, 0), end)
        return ends


def _orders(lives: tuple[Lifetime, ...]) -> Iterable[list[Lifetime]]:
    yield sorted(lives, key=lambda a: (-a.size_bytes, a.tensor))
    yield sorted(lives, key=lambda a: (-a.size_bytes * (a.last - a.first + 1), a.tensor))
    yield list(lives)


def _first_fit(order: Sequence[Lifetime], regions: Sequence[Region]) -> _Fit:
    placed: list[tuple[Lifetime, Placement]] = []
    for life in order:
        neighbours = [place for other, place in placed if life.meets(other)]
        place = _lowest_place(life, neighbours, regions)
        if place is None:
            return _Fit(tuple(p for _, p in placed), life)
        placed.append((life, place))
    return _Fit(tuple(p for _, p in placed), None)


def _lowest_place(
    life: Lifetime, neighbours: Sequence[Placement], regions: Sequence[Region]
) -> Placement | None:
    for region in regions:
        taken = sorted((p.offset, p.size_bytes) for p in neighbours if p.region == region.name)
        offset = 0
        for start, size in taken:
            if offset + life.size_bytes <= start:
                break
            offset = max(offset, _align(start + size))
        if offset + life.size_bytes <= region.size_bytes:
            return Placement(life.tensor, region.name, offset, life.size_bytes)
    return None


def _bump_until_fit(lives: tuple[Lifetime, ...], regions: Sequence[Region]) -> _Fit:
    order = next(iter(_orders(lives)))
    fit = _first_fit(order, regions)
    for _ in range(MAX_RETRIES):
        if fit.failed is None or order[0] is fit.failed:
            break
        order.remove(fit.failed)
        order.insert(0, fit.failed)
        fit = _first_fit(order, regions)
    return fit


def _peak(lives: tuple[Lifetime, ...], layers: int) -> tuple[int, int]:
    """(bytes, layer) where most bytes are alive at once."""
    alive = [
        (sum(_align(a.size_bytes) for a in lives if a.first <= layer <= a.last), -layer)
        for layer in range(layers)
    ]
    peak_bytes, negative_layer = max(alive)
    return peak_bytes, -negative_layer


def _align(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _does_not_fit(
    network: Network, failed: Lifetime, peak_bytes: int, peak_layer: int, regions: Sequence[Region]
) -> str:
    sizes = ", ".join(f"{r.name} {r.size_bytes}" for r in regions)
    available = sum(r.size_bytes for r in regions)
    if peak_bytes > available:
        return (
            f"{network.name}: layer {peak_layer} ({network.layers[peak_layer].name}) has "
            f"{peak_bytes} bytes of activations alive, the arena has {available} ({sizes}); "
            "cut the network earlier or make it narrower"
        )
    writer = max(failed.tensor - 1, 0)
    return (
        f"{network.name}: tensor {failed.tensor} of layer {writer} "
        f"({network.layers[writer].name}), {failed.size_bytes} bytes in one piece, finds no place "
        f"beside what is alive with it; the arena has {sizes}; cut the network earlier"
    )
