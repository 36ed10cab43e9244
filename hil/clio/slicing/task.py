"""Progressive slicing as a training task, for one cut (the paper) or several of one network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from hil.clio.slicing.recipe import SliceRecipe, recalibrate_norms, slicing_loss
from hil.clio.slicing.slice_set import SliceSet
from hil.clio.slicing.sliced_model import SlicedModel
from hil.nn.data.images import ImageSet
from hil.nn.evaluate import Accuracy
from hil.nn.zoo import ModelSpec, build_model, normalise

WHOLE = "all"


class SlicingTask:
    """See ``hil.nn.train.Task``. With several cuts each step takes one of them at random."""

    def __init__(
        self,
        spec: ModelSpec,
        slices: Sequence[SliceSet],
        recipe: SliceRecipe,
        weights: dict[str, torch.Tensor] | None = None,
    ):
        backbone = build_model(spec)
        if weights is not None:
            backbone.load_state_dict(weights)
        self.recipe = recipe
        self.image = spec.image
        self.model = SlicedModel(
            backbone,
            {one.cut: one.channels for one in slices},
            spec.image,
            recipe.private_norms,
            recipe.whole_entry,
        )
        by_cut = {one.cut: one for one in slices}
        self.slices = [by_cut[cut] for cut in self.model.cuts]
        self.identity: dict[str, Any] = {
            "spec": asdict(spec),
            "slicing": {"recipe": recipe.to_dict(), "slices": [asdict(s) for s in self.slices]},
        }

    def loss(
        self, x: torch.Tensor, y: torch.Tensor, smoothing: float, rng: np.random.Generator
    ) -> torch.Tensor:
        slices = self.slices[int(rng.integers(len(self.slices)))]
        return slicing_loss(self.model, slices, self.recipe, x, y, rng, smoothing)

    def finish(self, batches: Iterator[torch.Tensor]) -> None:
        """BatchNorm statistics of every path from the finished weights."""
        if not self.recipe.recalibrate:
            return
        images = list(itertools.islice(batches, self.recipe.recalibrate))
        self.model.eval()
        for one in self.slices:
            with torch.no_grad():
                features = [self.model.device(x, one.cut) for x in images]
            for channels in one.channels:
                if self.model.has_path(one.cut, channels):
                    path = self.model.cloud(one.cut, channels)
                    recalibrate_norms(path, [f[:, :channels] for f in features])

    def evaluate(self, images: ImageSet) -> dict[str, Any]:
        found = slice_accuracies(self.model, images)
        tops = {_label(key): round(accuracy.top1, 4) for key, accuracy in found.items()}
        return {"test_top1": tops, "test_images": len(images)}


def _label(key: tuple[str, int]) -> str:
    cut, channels = key
    return f"{cut}/{channels}" if channels else cut


@torch.inference_mode()
def slice_accuracies(
    model: SlicedModel, images: ImageSet, batch: int = 256
) -> dict[tuple[str, int], Accuracy]:
    """Top-1 of every slice by (cut, channels), in float; key (WHOLE, 0) is the whole network.

    The whole network is only there if the recipe trains it.
    """
    correct = {(cut, n): 0 for cut, counts in model.slices.items() for n in counts}
    if not model.whole_entry:
        correct[WHOLE, 0] = 0
    model.eval()
    device = next(model.parameters()).device
    for start in range(0, len(images), batch):
        x = normalise(images.x[start : start + batch], device)
        y = torch.from_numpy(images.y[start : start + batch]).to(device)
        features = {cut: model.device(x, cut) for cut in model.cuts}
        for cut, channels in correct:
            if cut == WHOLE:
                logits = model.backbone(x)
            else:
                logits = model.cloud(cut, channels)(features[cut][:, :channels])
            correct[cut, channels] += int((logits.argmax(1) == y).sum())
    return {key: Accuracy(count, len(images)) for key, count in correct.items()}
