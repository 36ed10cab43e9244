"""Small networks and images the tests of hil.nn share."""

import numpy as np
import pytest
import torch
from torch import nn

from hil.nn.models.mobilenet_v2 import MobileNetV2


class Mixture(nn.Module):
    """One of everything that can be captured, with skip connections and odd sizes."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Sequential(
                nn.Conv2d(8, 8, 5, padding="same", groups=8),
                nn.MaxPool2d(3, 2, 1),
                nn.ReLU(inplace=True),
                nn.Identity(),
            ),
            nn.AvgPool2d(2),
        )
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 1)
        self.first = nn.Linear(8 * 4 * 4, 20)
        self.norm1 = nn.BatchNorm1d(20)
        self.drop = nn.Dropout()
        self.second = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(x)
        y = self.conv(nn.functional.relu6(self.norm(x)))
        x = torch.relu(x + y)
        x = self.drop(torch.relu(self.norm1(self.first(torch.flatten(x, 1)))))
        return self.second(x)


def randomise_norms(model: nn.Module) -> nn.Module:
    """Running statistics and gains far from the identity, so that folding matters."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


@pytest.fixture
def mixture() -> nn.Module:
    torch.manual_seed(0)
    return randomise_norms(Mixture())


@pytest.fixture(scope="session")
def small_mobilenet() -> nn.Module:
    torch.manual_seed(0)
    return randomise_norms(MobileNetV2(0.1, 10, "cifar"))


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Smooth random pictures, uint8 (40, 32, 32, 3)."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(128, 60, (40, 3, 5, 5)))
    fine = nn.functional.interpolate(coarse, size=32, mode="bicubic", align_corners=True)
    return fine.clamp(0, 255).permute(0, 2, 3, 1).contiguous().numpy().astype(np.uint8)
