"""Supervised training: one-cycle SGD, augmentation, a checkpoint after every epoch.

What is learnt is a ``Task``; the loop is the same for a plain network and for progressive
slices. A checkpoint holds all that the next epoch depends on. Shuffling, augmentation and every
draw of a task are seeded by (seed, epoch), so a run that was killed continues as if it had not
been.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hil.core.errors import DataError
from hil.nn.data.augment import crop_and_flip, flip, random_resized_crop
from hil.nn.data.images import ImageSet, check_same_classes
from hil.nn.stored import made_folder, read_state
from hil.nn.training_log import append_record
from hil.nn.zoo import ModelSpec, build_model, normalise

# glibc hands large freed blocks back to the kernel; on virtual machines the page faults of
# fresh tensors then take most of a training step (17 against 315 images/s here).
MALLOC_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


_CHECKPOINT, _LOG = "last.pt", "train_log.jsonl"
_FEWEST_STEPS = 4  # up, and down again


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides the result besides model, data and what the task adds.

    ``precision``: float32, or mixed (forward pass and gradients of activations in bfloat16, which
    needs no scaling of the loss; weights and their updates in float32).
    """

    epochs: int
    batch: int = 128
    peak_lr: float = 0.35
    momentum: float = 0.9
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2:
            raise DataError(
                f"{self.epochs} epochs with {self.batch} images a step; at least 1 and 2 are needed"
            )
        if not 0 < self.peak_lr < math.inf or self.seed < 0:
            raise DataError(
                f"peak learning rate {self.peak_lr:g}, seed {self.seed}; the rate must be above 0, "
                "the seed not below"
            )
        if self.precision not in ("float32", "mixed"):
            raise DataError(f"precision must be float32 or mixed, not {self.precision!r}")


class Task(Protocol):
    """What is learnt. ``identity`` tells it from others; a checkpoint of another is refused."""

    image: int
    identity: dict[str, Any]

    @property
    def model(self) -> nn.Module:
        """What is moved to the device, optimised and checkpointed."""
        ...

    def loss(
        self, x: torch.Tensor, y: torch.Tensor, smoothing: float, rng: np.random.Generator
    ) -> torch.Tensor:
        """The scalar to minimise for one batch, x (N, 3, H, W) and y (N,)."""
        ...

    def finish(self, batches: Iterator[torch.Tensor]) -> None:
        """After the last step, before the last evaluation; ``batches`` are training images."""
        ...

    def evaluate(self, images: ImageSet) -> dict[str, Any]:
        """What the log says of an epoch."""
        ...


class Classifier:
    """The plain task: cross-entropy of one network. ``weights``: where to start, if not anew."""

    def __init__(self, spec: ModelSpec, weights: dict[str, torch.Tensor] | None = None):
        self.model = build_model(spec)
        if weights is not None:
            self.model.load_state_dict(weights)
        self.image = spec.image
        self.identity: dict[str, Any] = {"spec": asdict(spec)}

    def loss(
        self, x: torch.Tensor, y: torch.Tensor, smoothing: float, rng: np.random.Generator
    ) -> torch.Tensor:
        return functional.cross_entropy(self.model(x), y, label_smoothing=smoothing)

    def finish(self, batches: Iterator[torch.Tensor]) -> None:
        """Nothing is left to do."""

    def evaluate(self, images: ImageSet) -> dict[str, Any]:
        return {"test_top1": round(top1(self.model, images), 4), "test_images": len(images)}


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
    device: str = "cpu",
    weights: dict[str, torch.Tensor] | None = None,
) -> Path:
    """Train a plain network; see ``fit``. It starts from ``weights``, or from random ones."""
    torch.manual_seed(recipe.seed)
    return fit(Classifier(spec, weights), recipe, train_set, test_set, out, report, device)


def fit(
    task: Task,
    recipe: TrainRecipe,
    train_set: ImageSet,
    test_set: ImageSet,
    out: Path,
    report: Callable[[str], None] = print,
    device: str = "cpu",
) -> Path:
    """Train, continuing from ``out/last.pt`` if it is there; returns the checkpoint's path.

    ``out/train_log.jsonl`` gets one line an epoch (loss, what the task evaluates, seconds).
    Training images larger than the task's are cropped and resized at random, others shifted;
    half of either are mirrored.
    Raises DataError if ``last.pt`` belongs to another task, recipe or data set, if the two sets
    do not fit together, or if the device is not there.
    """
    _check(task, recipe, train_set, test_set, device)
    made_folder(out)
    run = _Run(task, recipe, train_set, device, report)
    identity = {
        **task.identity,
        "recipe": asdict(recipe),
        "train_digest": train_set.digest,
        "test_digest": test_set.digest,
    }
    for epoch in range(_resume(out, identity, run), recipe.epochs):
        started = time.monotonic()
        loss = run.epoch(epoch)
        if epoch + 1 == recipe.epochs:
            task.finish(run.batches(epoch + 1))
        record = {
            "epoch": epoch + 1,
            "train_loss": round(loss, 4),
            **task.evaluate(test_set),
            "seconds": round(time.monotonic() - started, 1),
        }
        _save(out / _CHECKPOINT, identity, run, epoch + 1, record)
        append_record(out / _LOG, record)
        report(f"epoch {epoch + 1}/{recipe.epochs}: loss {loss:.4f}, {_told(record)}")
    return out / _CHECKPOINT


def _check(task: Task, recipe: TrainRecipe, train_set, test_set, device: str) -> None:
    check_same_classes(train_set, test_set)
    if len(train_set) < recipe.batch:
        raise DataError(f"{train_set.name}: {len(train_set)} images, one step takes {recipe.batch}")
    if len(train_set) // recipe.batch * recipe.epochs < _FEWEST_STEPS:
        raise DataError(
            f"{train_set.name}: {recipe.epochs} epochs of {len(train_set) // recipe.batch} steps; "
            f"the learning rate's cycle takes at least {_FEWEST_STEPS} steps"
        )
    if test_set.x.shape[1:3] != (task.image, task.image):
        raise DataError(
            f"{test_set.name}: images of {test_set.x.shape[1:3]}, the network takes "
            f"{task.image}x{task.image}; load them at that size"
        )
    _check_device(device)


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DataError(f"no device {name!r}; choose cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DataError(f"no training on device {name!r}; choose cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"device {name}: torch {torch.__version__} finds no GPU; use cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DataError(f"device {name}: there are {torch.cuda.device_count()} GPUs, from cuda:0")


class _Run:
    """The moving parts: model, optimiser, schedule. Their states are a checkpoint."""

    def __init__(
        self,
        task: Task,
        recipe: TrainRecipe,
        train_set: ImageSet,
        device: str,
        report: Callable[[str], None],
    ):
        self.task, self.recipe, self.train_set = task, recipe, train_set
        self.device, self.report = torch.device(device), report
        # Of several convolution algorithms only those that give the same sums every time.
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        task.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            _parameter_groups(task.model, recipe.weight_decay),
            lr=recipe.peak_lr,
            momentum=recipe.momentum,
            nesterov=True,
        )
        self.steps = len(train_set) // recipe.batch
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=recipe.peak_lr,
            total_steps=recipe.epochs * self.steps,
            pct_start=_rise(recipe.epochs * self.steps),
            cycle_momentum=False,
        )

    @property
    def parts(self) -> dict[str, Any]:
        """What has a state, by its name in a checkpoint."""
        return {
            "model": self.task.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def epoch(self, epoch: int) -> float:
        """One pass over the training images; the mean loss."""
        torch.manual_seed(self.recipe.seed * 1_000_003 + epoch)  # dropout, if there is any
        rng = np.random.default_rng([self.recipe.seed, epoch])
        mixed = self.recipe.precision == "mixed"
        self.task.model.train()
        started, total = time.monotonic(), torch.zeros((), device=self.device)
        for step, (x, y) in enumerate(self._labelled(epoch), 1):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
                loss = self.task.loss(x, y, self.recipe.label_smoothing, rng)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            total += loss.detach()  # read only now and then: a GPU need not wait for this thread
            if step % 50 == 0:
                mean, rate = total.item() / step, step / (time.monotonic() - started)
                self.report(
                    f"epoch {epoch + 1}/{self.recipe.epochs} step {step}/{self.steps} "
                    f"loss {mean:.3f} {rate * self.recipe.batch:.0f} images/s"
                )
        return total.item() / self.steps

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """Training images as an epoch would bring them, without labels."""
        for x, _ in self._labelled(epoch):
            yield x

    def _labelled(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """An epoch's batches, augmented by other threads while the network computes."""
        workers = _augmenters(self.device)
        order = np.random.default_rng([self.recipe.seed, epoch, 0]).permutation(len(self.train_set))
        waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            for step in range(self.steps):
                index = order[step * self.recipe.batch : (step + 1) * self.recipe.batch]
                waiting.append(pool.submit(self._batch, index, epoch, step))
                if len(waiting) > 2 * workers:
                    yield self._moved(waiting.popleft())
            while waiting:
                yield self._moved(waiting.popleft())

    def _batch(self, index: np.ndarray, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Its chance is its own, so that it does not matter which thread is first."""
        rng = np.random.default_rng([self.recipe.seed, epoch, 1 + step])
        return _augmented(self.train_set.x[index], rng, self.task.image), self.train_set.y[index]

    def _moved(
        self, batch: Future[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = batch.result()
        return normalise(x, self.device), torch.from_numpy(y).to(self.device)


def _augmenters(device: torch.device) -> int:
    """Threads that augment: one beside a CPU's own work, most of the cores beside a GPU."""
    return 1 if device.type == "cpu" else max(1, min(8, (os.cpu_count() or 1) - 1))


def _rise(steps: int) -> float:
    """The share of all steps in which the learning rate rises: a quarter, at least two steps."""
    return max(0.25, min(2 / steps, 0.5))


def _augmented(x: np.ndarray, rng: np.random.Generator, image: int) -> np.ndarray:
    if x.shape[1:3] == (image, image):
        return crop_and_flip(x, rng)
    return flip(random_resized_crop(x, rng, image), rng)


@torch.inference_mode()
def top1(model: nn.Module, images: ImageSet, batch: int = 256) -> float:
    """Fraction of images whose largest logit is the label's."""
    model.eval()
    device = next(model.parameters()).device
    correct = 0
    for start in range(0, len(images), batch):
        logits = model(normalise(images.x[start : start + batch], device))
        labels = torch.from_numpy(images.y[start : start + batch])
        correct += int((logits.argmax(1).cpu() == labels).sum())
    return correct / len(images)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """No decay on biases, BatchNorm or depthwise filters (MobileNet, section 3.2 there)."""
    decayed: dict[int, nn.Parameter] = {}
    free: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):  # tied ones come more than once
            depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
            group = free if parameter.ndim == 1 or depthwise else decayed
            group[id(parameter)] = parameter
    return [
        {"params": list(decayed.values()), "weight_decay": weight_decay},
        {"params": list(free.values()), "weight_decay": 0.0},
    ]


def _told(record: dict[str, Any]) -> str:
    tops = record.get("test_top1")
    if isinstance(tops, dict):
        text = "  ".join(f"{key} {value:.1%}" for key, value in tops.items())
    else:
        text = "not evaluated" if tops is None else f"{tops:.2%}"
    return f"test top-1 {text}, {record['seconds']} s"


def _save(path: Path, identity: dict[str, Any], run: _Run, epochs_done: int, record) -> None:
    states = {name: part.state_dict() for name, part in run.parts.items()}
    temporary = path.with_suffix(".tmp")
    torch.save({**identity, **states, "epochs_done": epochs_done, "record": record}, temporary)
    temporary.replace(path)


def _resume(out: Path, identity: dict[str, Any], run: _Run) -> int:
    """Epochs that are done, their state put into ``run``.

    The last one's record goes into the log once more: the run may have been killed before it did.
    """
    path = out / _CHECKPOINT
    if not path.exists():
        return 0
    state = read_state(path, "training checkpoint", "remove it to train anew", run.device)
    for key, value in identity.items():
        if state.get(key) != value:
            raise DataError(
                f"{path} was written with {key}={state.get(key)}, this run has {value}; "
                "choose another --out or remove it"
            )
    try:
        for name, part in run.parts.items():
            part.load_state_dict(state[name])
        record, done = dict(state["record"]), int(state["epochs_done"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: not a readable training checkpoint ({error!r}); remove it to train anew"
        ) from error
    append_record(out / _LOG, record)
    return done
