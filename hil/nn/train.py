"""Plain supervised training: one-cycle SGD, crop and flip, a checkpoint after every epoch.

A checkpoint holds all that the next epoch depends on. Shuffling and augmentation are
seeded by (seed, epoch), so a run that was killed continues as if it had not been.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hil.core.errors import DataError
from hil.nn.data.images import ImageSet
from hil.nn.zoo import ModelSpec, build_model, normalise

# glibc hands large freed blocks back to the kernel; on virtual machines the page faults of
# fresh tensors then take most of a training step (17 against 315 images/s here).
MALLOC_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides the result besides model and data."""

    epochs: int
    batch: int = 128
    peak_lr: float = 0.35
    momentum: float = 0.9
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    seed: int = 0


def keep_freed_memory() -> None:
    """Start this process again with MALLOC_ENVIRONMENT, which glibc reads only at start."""
    if all(os.environ.get(k) == v for k, v in MALLOC_ENVIRONMENT.items()):
        return
    os.environ.update(MALLOC_ENVIRONMENT)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def train(
    spec: ModelSpec,
    recipe: TrainRecipe,
    train_set: ImageSet,
    test_set: ImageSet,
    out: Path,
    report: Callable[[str], None] = print,
) -> Path:
    """Train, continuing from ``out/last.pt`` if it is there; returns the checkpoint's path.

    ``out/train_log.jsonl`` gets one line an epoch (loss, test accuracy, seconds).
    Raises DataError if ``last.pt`` belongs to another model, recipe or data set.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    model = build_model(spec)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    optimizer = torch.optim.SGD(
        _parameter_groups(model, recipe.weight_decay),
        lr=recipe.peak_lr,
        momentum=recipe.momentum,
        nesterov=True,
    )
    steps_per_epoch = len(train_set) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=recipe.peak_lr,
        total_steps=recipe.epochs * steps_per_epoch,
        pct_start=0.25,
        cycle_momentum=False,
    )
    identity = {
        "spec": asdict(spec),
        "recipe": asdict(recipe),
        "train_digest": train_set.digest,
        "test_digest": test_set.digest,
    }
    first = _resume(out / "last.pt", identity, model, optimizer, schedule)
    for epoch in range(first, recipe.epochs):
        started = time.monotonic()
        rng = np.random.default_rng([recipe.seed, epoch])
        order = rng.permutation(len(train_set))[: steps_per_epoch * recipe.batch]
        model.train()
        total = 0.0
        for step in range(steps_per_epoch):
            index = order[step * recipe.batch : (step + 1) * recipe.batch]
            x = normalise(augment(train_set.x[index], rng))
            loss = loss_of(model(x), torch.from_numpy(train_set.y[index]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            if step % 50 == 49:
                rate = (step + 1) * recipe.batch / (time.monotonic() - started)
                report(
                    f"epoch {epoch + 1}/{recipe.epochs} step {step + 1}/{steps_per_epoch} "
                    f"loss {total / (step + 1):.3f} {rate:.0f} images/s"
                )
        record = {
            "epoch": epoch + 1,
            "train_loss": round(total / steps_per_epoch, 4),
            "test_top1": round(top1(model, test_set), 4),
            "test_images": len(test_set),
            "seconds": round(time.monotonic() - started, 1),
        }
        _save(out / "last.pt", identity, model, optimizer, schedule, epoch + 1, record)
        with (out / "train_log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        report(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {record['train_loss']}, "
            f"test top-1 {record['test_top1']:.2%}, {record['seconds']} s"
        )
    return out / "last.pt"


def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random crop of the image padded by an eighth (reflected), random mirror. uint8 NHWC."""
    n, h, w, _ = x.shape
    pad = h // 8
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    top, left = rng.integers(0, 2 * pad + 1, (2, n))
    rows = top[:, None, None] + np.arange(h)[None, :, None]
    columns = left[:, None] + np.arange(w)[None, :]
    mirrored = rng.random(n) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    return padded[np.arange(n)[:, None, None], rows, columns[:, None, :]]


@torch.inference_mode()
def top1(model: nn.Module, images: ImageSet, batch: int = 256) -> float:
    """Fraction of images whose largest logit is the label's."""
    model.eval()
    correct = 0
    for start in range(0, len(images), batch):
        logits = model(normalise(images.x[start : start + batch]))
        labels = torch.from_numpy(images.y[start : start + batch])
        correct += int((logits.argmax(1) == labels).sum())
    return correct / len(images)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """No decay on biases, BatchNorm or depthwise filters (MobileNet, section 3.2 there)."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
            (free if parameter.ndim == 1 or depthwise else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def _save(path, identity, model, optimizer, schedule, epochs_done, record) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(
        {
            **identity,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "epochs_done": epochs_done,
            "record": record,
        },
        temporary,
    )
    temporary.replace(path)


def _resume(path: Path, identity, model, optimizer, schedule) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for key, value in identity.items():
        if state[key] != value:
            raise DataError(
                f"{path} was written with {key}={state[key]}, this run has {value}; "
                "choose another --out or remove it"
            )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return state["epochs_done"]
