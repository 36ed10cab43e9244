"""How long this host needs for a model's tail: the cloud's share of a partition's latency.

Measured, on this machine, with the batch of one that a device sends. It is no model of some
other cloud: the host's name travels with the number.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hil.core.cost import Interval
from hil.core.errors import DataError, ModelError
from hil.core.provenance import Origin
from hil.measure.intervals import median_interval


@dataclass(frozen=True)
class TailCost:
    """Latency of a tail in seconds, with its raw samples and where they come from."""

    latency_s: Interval
    samples_s: tuple[float, ...]
    warmup_samples_s: tuple[float, ...]
    shape: tuple[int, ...]
    threads: int
    host: str
    device: str
    torch_version: str
    origin: Origin = Origin.MEASURED

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def host_name() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()


def measure_tail(
    tail: nn.Module,
    shape: tuple[int, ...],
    repeats: int = 20,
    warmups: int = 3,
    threads: int | None = None,
) -> TailCost:
    """Time ``tail`` on random input of ``shape`` (batch first), where the tail's weights are.

    The first calls pay for allocation and kernel selection: ``warmups`` of them are kept apart.
    ``threads`` limits torch on the processor for this measurement. Raises ModelError when the
    tail does not take that shape.
    """
    if repeats < 1 or warmups < 0:
        raise DataError(f"a tail is timed at least once, not {repeats} times ({warmups} warm-ups)")
    device = next((p.device for p in tail.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(shape, generator=generator).to(device)
    with _evaluating(tail), _threads(threads) as used, torch.inference_mode():
        try:
            samples = [_time_s(tail, image) for _ in range(warmups + repeats)]
        except RuntimeError as error:
            raise ModelError(
                f"tail {type(tail).__name__} does not take an input of shape {shape}: {error}"
            ) from error
    return TailCost(
        latency_s=median_interval(samples[warmups:]),
        samples_s=tuple(samples[warmups:]),
        warmup_samples_s=tuple(samples[:warmups]),
        shape=shape,
        threads=used,
        host=host_name(),
        device=_device_name(device),
        torch_version=torch.__version__,
    )


def _time_s(tail: nn.Module, image: torch.Tensor) -> float:
    _synchronize(image.device)
    start_s = time.perf_counter()
    tail(image)
    _synchronize(image.device)
    return time.perf_counter() - start_s


def _synchronize(device: torch.device) -> None:
    """A GPU returns before it has finished; the processor does not."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def _evaluating(tail: nn.Module) -> Iterator[None]:
    """Batch normalisation and dropout as in use; the caller's mode comes back."""
    training = {module: module.training for module in tail.modules()}
    tail.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def _threads(threads: int | None) -> Iterator[int]:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
