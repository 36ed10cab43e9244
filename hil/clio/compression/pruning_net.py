"""PruningNet (MetaPruning, Liu et al., ICCV 2019): one network that gives weights for any widths.

Each convolution has two dense layers that turn the shares kept in its block into the weights of
the full layer, from which the leading channels are cropped. BatchNorm has no gain and offset
here, and its statistics are taken anew for every candidate, so none are stored. The classifier
is an ordinary dense layer, cropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hil.clio.compression.structure import Counts, Kind, LayerShape, resized, structure_of
from hil.nn.blocks import BlockNames
from hil.nn.zoo import ModelSpec, build_model


@dataclass(frozen=True)
class PruningNetSettings:
    """Training of PruningNet; rate, epochs and smoothing as published, decay to zero is linear."""

    epochs: int = 64
    batch: int = 128
    lr: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    hidden: int = 64


class PruningNet(nn.Module):
    """Weights for every narrower network of ``spec``, by group sizes."""

    def __init__(self, spec: ModelSpec, hidden: int):
        super().__init__()
        self.spec = spec
        self.structure = structure_of(spec)
        self.convolutions = tuple(
            x for x in self.structure.layers if x.kind in (Kind.CONV, Kind.DEPTHWISE)
        )
        self.dense = tuple(x for x in self.structure.layers if x.kind is Kind.LINEAR)
        with torch.device("meta"):
            model = build_model(spec)
        self.shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
        self.inputs = _groups_of_blocks(self.convolutions, BlockNames(model))
        self.makers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(len(self.inputs[x.name]), hidden),
                nn.ReLU(),
                nn.Linear(hidden, int(np.prod(self.shapes[f"{x.name}.weight"]))),
            )
            for x in self.convolutions
        )
        self.heads = nn.ModuleList(
            nn.Linear(columns, rows)
            for rows, columns in (self.shapes[f"{x.name}.weight"] for x in self.dense)
        )

    def forward(self, counts: Counts) -> dict[str, torch.Tensor]:
        """Parameters of the network with these group sizes, BatchNorm's excepted."""
        shares = torch.tensor(
            [now / full for now, full in zip(counts, self.structure.sizes, strict=True)]
        )
        weights = {}
        for layer, maker in zip(self.convolutions, self.makers, strict=True):
            key = f"{layer.name}.weight"
            full = maker(shares[list(self.inputs[layer.name])]).view(self.shapes[key])
            inputs = counts[layer.reads] if layer.kind is Kind.CONV else 1
            weights[key] = full[: counts[layer.makes], :inputs]
            if layer.bias:
                weights[f"{layer.name}.bias"] = torch.zeros(counts[layer.makes])
        for layer, head in zip(self.dense, self.heads, strict=True):
            assert isinstance(head, nn.Linear)
            columns = counts[layer.reads] * layer.area  # torch flattens (channel, pixel)
            weights[f"{layer.name}.weight"] = head.weight[: counts[layer.makes], :columns]
            weights[f"{layer.name}.bias"] = head.bias[: counts[layer.makes]]
        return weights

    def logits(self, x: torch.Tensor, counts: Counts) -> torch.Tensor:
        """Of the network with these group sizes, normalised by the batch's own statistics."""
        with torch.device("meta"):
            skeleton = build_model(resized(self.spec, counts))
        for module in skeleton.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight = module.bias = None  # type: ignore[assignment]
                module.running_mean = module.running_var = module.num_batches_tracked = None
        return torch.func.functional_call(skeleton, self(counts), (x,))

    @torch.no_grad()
    def candidate(self, counts: Counts, batches: Iterator[torch.Tensor]) -> nn.Module:
        """The network with these group sizes and fresh BatchNorm statistics, ready to judge."""
        model = build_model(resized(self.spec, counts))
        model.load_state_dict(self(counts), strict=False)
        recalibrate(model, batches)
        return model.eval()


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterator[torch.Tensor]) -> None:
    """Replace BatchNorm's statistics by the mean over ``batches``; nothing else changes."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class PruningNetTraining:
    """The loop: every batch another random network.

    ``draw(rng)`` gives its group sizes, ``labelled(rng)`` one epoch of (x, y). All of an epoch's
    randomness comes from (seed, epoch).
    """

    def __init__(
        self,
        net: PruningNet,
        settings: PruningNetSettings,
        steps: int,
        draw: Callable[[np.random.Generator], Counts],
        labelled: Callable[[np.random.Generator], Iterator[tuple[torch.Tensor, torch.Tensor]]],
        seed: int,
    ):
        self.net, self.settings, self.seed = net, settings, seed
        self.draw, self.labelled = draw, labelled
        self.optimizer = torch.optim.SGD(
            net.parameters(),
            settings.lr,
            settings.momentum,
            weight_decay=settings.weight_decay,
        )
        total = max(1, steps * settings.epochs)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: max(0.0, 1 - step / total)
        )

    def epoch(self, epoch: int) -> float:
        """One pass; the mean loss."""
        rng = np.random.default_rng([self.seed, epoch])
        self.net.train()
        losses = []
        for x, y in self.labelled(rng):
            loss = nn.functional.cross_entropy(
                self.net.logits(x, self.draw(rng)),
                y,
                label_smoothing=self.settings.label_smoothing,
            )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def state(self) -> dict:
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def _groups_of_blocks(
    layers: tuple[LayerShape, ...], names: BlockNames
) -> dict[str, tuple[int, ...]]:
    """For each layer, the groups that its block touches: whose shares it is told."""
    block = {x.name: (names.block_of(x.name) or (x.name, ""))[0] for x in layers}
    touched: dict[str, set[int]] = {}
    for layer in layers:
        touched.setdefault(block[layer.name], set()).update((layer.reads, layer.makes))
    return {x.name: tuple(sorted(touched[block[x.name]])) for x in layers}
