"""A network whose cuts send ordered channels: one device part, one cloud path a slice.

The device part f_theta is the network up to the cut, shared by all slices. The path of a slice
of i channels, g_phi_i, begins with an entry of its own that reads i channels (the unit behind
the cut, ``hil.nn.narrow``); all weights behind that unit are tied to the network's own (Clio,
sections 3.2, 3.4). With several cuts they share one network, so that one firmware image serves
all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from hil.core.errors import ModelError
from hil.nn.chain import chain, cut_units
from hil.nn.narrow import narrow

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class SlicedModel(nn.Module):
    """``model`` (from here on its weights are trained here) with slices at its cuts.

    ``slices``: cut name -> channel counts, ascending. ``image``: side of the square input.
    ``private_norms``: each path has BatchNorms of its own behind the entry (their statistics
    depend on how much was sent); else all share the network's, as the paper's tying says.
    ``whole_entry``: a slice of all channels has an entry of its own too, with a 1x1 convolution
    for a skip connection as in the paper (section 4.1); else it is the network itself.
    ``tied``: False gives every path all weights of its own, as before section 3.4.
    ``units``: cut name -> units before it, where they are known (``cut_units`` finds them by
    capturing the model, which takes seconds).

    Raises ModelError for a cut that does not exist and a slice larger than its layer.
    """

    def __init__(
        self,
        model: nn.Module,
        slices: Mapping[str, Sequence[int]],
        image: int,
        private_norms: bool = True,
        whole_entry: bool = False,
        tied: bool = True,
        units: Mapping[str, int] | None = None,
    ):
        super().__init__()
        self.backbone = model
        self.image = image
        self.private_norms = private_norms
        self.whole_entry = whole_entry
        self.tied = tied
        units = cut_units(model, image) if units is None else units
        for cut in slices:
            if cut not in units:
                raise ModelError(
                    f"{type(model).__name__}: no cut {cut!r} to slice; known: {', '.join(units)}"
                )
        # In the network's order, so that the device part of each is a prefix of the next one's.
        self.cuts = {cut: units[cut] for cut in units if cut in slices}
        self.of_channels = _channels_at(model, image, self.cuts)
        self.slices = {cut: tuple(slices[cut]) for cut in self.cuts}
        self.paths = nn.ModuleDict()
        for cut, after in self.cuts.items():
            for channels in self.slices[cut]:
                if channels > self.of_channels[cut]:
                    raise ModelError(
                        f"cut {cut}: a slice of {channels} channels; the layer there has "
                        f"{self.of_channels[cut]}"
                    )
                if channels < self.of_channels[cut] or whole_entry:
                    self.paths[path_key(cut, channels)] = self._path(after, channels, cut)

    def _path(self, after: int, channels: int, cut: str) -> nn.Sequential:
        entry, *rest = chain(self.backbone)[after:]
        tail = nn.Sequential(*rest)
        if not self.tied:
            tail = copy.deepcopy(tail)
        elif self.private_norms:
            tail = _with_private_norms(tail)
        return nn.Sequential(narrow(entry, channels, self.of_channels[cut]), *tail)

    def device(self, x: torch.Tensor, cut: str) -> torch.Tensor:
        """All channels at a cut, (N, C, H, W), from images (N, 3, H, W)."""
        for unit in chain(self.backbone)[: self.cuts[cut]]:
            x = unit(x)
        return x

    def cloud(self, cut: str, channels: int) -> nn.Module:
        """The path that answers a slice, (N, channels, H, W) to logits. ModelError: not sliced so.

        Weights are shared with this model, not copied.
        """
        if channels not in self.slices.get(cut, ()):
            known = ", ".join(f"{c}/{n}" for c, counts in self.slices.items() for n in counts)
            raise ModelError(f"no slice of {channels} channels at cut {cut!r}; trained: {known}")
        if self.has_path(cut, channels):
            return self.paths[path_key(cut, channels)]
        return nn.Sequential(*chain(self.backbone)[self.cuts[cut] :])

    def has_path(self, cut: str, channels: int) -> bool:
        """Whether a slice has a path of its own; else the network itself answers it."""
        return path_key(cut, channels) in self.paths

    def whole(self, features: torch.Tensor, cut: str) -> torch.Tensor:
        """Logits of the network itself from all channels at a cut."""
        for unit in chain(self.backbone)[self.cuts[cut] :]:
            features = unit(features)
        return features

    def forward(self, x: torch.Tensor, cut: str, channels: int) -> torch.Tensor:
        """Logits (N, classes) when ``channels`` channels are sent at ``cut``."""
        return self.cloud(cut, channels)(self.device(x, cut)[:, :channels])


def path_key(cut: str, channels: int) -> str:
    """Name of a slice's path among the modules (which may not contain dots)."""
    return f"{cut.replace('.', '_')}-{channels}"


def _with_private_norms(tied: nn.Sequential) -> nn.Sequential:
    """A copy that shares every parameter but those of BatchNorms."""
    shared = {
        id(parameter): parameter
        for module in tied.modules()
        if not isinstance(module, _NORMS)
        for parameter in module.parameters(recurse=False)
    }
    return copy.deepcopy(tied, shared)


def _channels_at(model: nn.Module, image: int, cuts: Mapping[str, int]) -> dict[str, int]:
    place = next(model.parameters())
    x = torch.zeros(1, 3, image, image, device=place.device)
    found: dict[str, int] = {}
    training = model.training
    model.eval()
    with torch.no_grad():
        for number, unit in enumerate(chain(model), 1):
            x = unit(x)
            found |= {cut: x.shape[1] for cut, after in cuts.items() if after == number}
    model.train(training)
    return found
