"""A small trained-looking network on the real virtual STM32F746, measured once a session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hil.loop.campaign import run_campaign
from hil.loop.settings import Settings
from hil.loop.subject import Subject
from hil.measure.repeats import WindowGoal
from hil.nn.data.images import ImageSet
from hil.rig.rigfile import load_bench
from tests.loop.sliced import artifact, noise

IMAGE = 16


class Tiny(nn.Module):
    """Three blocks and a classifier: every kind of layer a MobileNet has but the skip."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6()),
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6()),
            nn.Sequential(nn.Conv2d(8, 12, 1), nn.ReLU6()),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.flatten(self.pool(self.blocks(x))))


SETTINGS = Settings(
    images=3,
    passes_a_cut=2,
    energy_sweeps=2,
    network_windows=2,
    self_tests=1,
    window=WindowGoal(min_samples=50, min_window_s=0.001),
    refinements=0,
    tail_repeats=3,
)


@pytest.fixture(scope="session")
def subject() -> Subject:
    torch.manual_seed(7)
    model = Tiny().eval()
    rng = np.random.default_rng(7)
    x = rng.integers(0, 256, (24, IMAGE, IMAGE, 3), dtype=np.uint8)
    images = ImageSet("noise", x, rng.integers(0, 4, 24))
    return Subject.of_torch(model, images, "conftest.py:tiny")


@pytest.fixture(scope="session")
def rigs():
    return load_bench("virtual-stm32f746").rigs


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, subject: Subject, rigs) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    run_campaign(rigs, subject, folder, SETTINGS, report=lambda _: None)
    return folder


@pytest.fixture(scope="session")
def sliced() -> Subject:
    return Subject.of_artifact(artifact(), noise(4, 5))


@pytest.fixture(scope="session")
def measured_sliced(tmp_path_factory: pytest.TempPathFactory, sliced: Subject, rigs) -> Path:
    """The folder of a finished run of a network with slices."""
    folder = tmp_path_factory.mktemp("sliced")
    settings = replace(SETTINGS, images=2, energy_sweeps=1, network_windows=1)
    run_campaign(rigs, sliced, folder, settings, report=lambda _: None)
    return folder
