"""What every compression method gives: a smaller network, and how it was found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hil.clio.compression.channel_prune import Weights
from hil.clio.compression.macs import Size, size_of
from hil.nn.checkpoint import Checkpoint, save_checkpoint
from hil.nn.stored import made_folder
from hil.nn.zoo import ModelSpec, build_model

FORMAT = 1
# One evaluated candidate: (MACs, reward or accuracy).
History = tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False)
class Compressed:
    """A network of the same kind with explicit ``channels`` and fewer MACs.

    ``weights`` are where training starts; None means from scratch (``seed`` decides how).
    ``data`` maps what images were used for to their digests. ``history`` has every candidate
    that the search evaluated, in order; it is empty for methods that do not search.
    """

    method: str
    source: str
    source_digest: str
    before: Size
    spec: ModelSpec
    weights: Weights | None
    settings: dict[str, Any]
    seed: int
    data: dict[str, str]
    history: History = ()

    @property
    def after(self) -> Size:
        return size_of(self.spec)

    def initial_weights(self) -> Weights:
        """``weights``, or seeded random ones."""
        if self.weights is not None:
            return self.weights
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = build_model(self.spec)
        return {key: value.numpy() for key, value in model.state_dict().items()}

    def checkpoint(self) -> Checkpoint:
        """As a file that every other step reads; its record says that it is not fine-tuned."""
        used = self.data.get("train", "")
        return Checkpoint(
            name=f"{self.source}-{self.method}-{round(100 * self.share)}",
            spec=self.spec,
            recipe={"compression": self.method, **self.settings, "seed": self.seed},
            record={"epoch": 0, "pruned": self.weights is not None},
            train_digest=used,
            test_digest="",
            weights=self.initial_weights(),
        )

    @property
    def share(self) -> float:
        """MACs left, as a share of the original's."""
        return self.after.macs / self.before.macs

    def __str__(self) -> str:
        start = "pruned weights" if self.weights is not None else "train from scratch"
        return (
            f"{self.method}: {self.before} -> {self.after} ({self.share:.1%} of the MACs), {start}"
        )


def save_compressed(compressed: Compressed, folder: Path) -> tuple[Path, Path]:
    """Write ``compressed.npz`` (a compact checkpoint) and ``compressed.json`` (how it came)."""
    made_folder(folder)
    weights, record = folder / "compressed.npz", folder / "compressed.json"
    checkpoint = compressed.checkpoint()
    save_checkpoint(checkpoint, weights)
    document = {
        "format": FORMAT,
        "method": compressed.method,
        "source": compressed.source,
        "source_digest": compressed.source_digest,
        "spec": asdict(compressed.spec),
        "from_scratch": compressed.weights is None,
        "weights_digest": checkpoint.digest,
        "before": asdict(compressed.before),
        "after": asdict(compressed.after),
        "settings": compressed.settings,
        "seed": compressed.seed,
        "data": compressed.data,
        "history": [[macs, round(score, 6)] for macs, score in compressed.history],
    }
    temporary = record.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    temporary.replace(record)
    return weights, record
