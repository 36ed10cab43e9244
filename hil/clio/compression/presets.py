"""Search settings by effort: as published, or what two CPU cores finish in minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hil.clio.compression.amc import AmcSettings
from hil.clio.compression.ddpg import DdpgSettings
from hil.clio.compression.evolution import EvolutionSettings
from hil.clio.compression.metapruning import MetaPruningSettings
from hil.clio.compression.pruning_net import PruningNetSettings
from hil.core.errors import ModelError

EFFORTS = ("paper", "small")
_Settings = TypeVar("_Settings")


def amc_settings(effort: str) -> AmcSettings:
    """ "small" explores for less time, so the actor learns faster and noise fades later."""
    small = AmcSettings(
        warmup=60,
        episodes=140,
        divisor=4,
        judge=1000,
        calibration=300,
        agent=DdpgSettings(actor_lr=1e-3, sigma_decay=0.98),
    )
    return _chosen(effort, AmcSettings, lambda: small)


def metapruning_settings(effort: str) -> MetaPruningSettings:
    """ "small" has a lower rate too: with batches of 128 the published one is for 1000."""
    small = MetaPruningSettings(
        divisor=4,
        judge=1000,
        calibration=512,
        training=PruningNetSettings(epochs=10, lr=0.1),
        evolution=EvolutionSettings(6, 20, 5, 8, 8),
    )
    return _chosen(effort, MetaPruningSettings, lambda: small)


def _chosen(
    effort: str, paper: Callable[[], _Settings], small: Callable[[], _Settings]
) -> _Settings:
    if effort not in EFFORTS:
        raise ModelError(f"no effort {effort!r}; choose {' or '.join(EFFORTS)}")
    return paper() if effort == "paper" else small()
