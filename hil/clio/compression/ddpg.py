"""Deep deterministic policy gradient (Lillicrap et al., ICLR 2016) as AMC uses it.

Not stable-baselines3: AMC knows the reward only when an episode ends, gives it to every step of
that episode, learns only then, subtracts a moving average of rewards, and draws its noise from a
truncated normal; all of that would have to be forced on a library that owns the loop. A search
must also resume bit for bit, replay memory and generator included.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from hil.clio.compression.state import restore_rng, rng_state


@dataclass(frozen=True)
class DdpgSettings:
    """Values of AMC's published code."""

    hidden: int = 300
    actor_lr: float = 1e-4
    critic_lr: float = 1e-3
    discount: float = 1.0
    batch: int = 64
    tau: float = 0.01
    replay: int = 100  # transitions remembered, for each step of an episode
    sigma: float = 0.5
    sigma_decay: float = 0.95  # an episode, after warm-up
    baseline_alpha: float = 0.5


@dataclass(frozen=True)
class Transition:
    """One step: in ``state`` the agent did ``action``, which led to ``following``."""

    state: np.ndarray
    action: float
    following: np.ndarray
    last: bool


class Ddpg:
    """Actor and critic with slow copies; actions are single numbers in (0, 1).

    ``features`` is the length of a state, ``steps`` that of an episode. Reproducible given
    ``seed``.
    """

    def __init__(self, features: int, steps: int, settings: DdpgSettings, seed: int):
        self.settings = settings
        self.rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor = _network(features, settings.hidden, nn.Sigmoid())
            self.critic = _network(features + 1, settings.hidden, nn.Identity())
        self.slow_actor = copy.deepcopy(self.actor)
        self.slow_critic = copy.deepcopy(self.critic)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), settings.actor_lr)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), settings.critic_lr)
        # Rows: state, action, following state, reward, 1 unless the episode ended here.
        self.replay = torch.zeros(0, 2 * features + 3)
        self.capacity = settings.replay * steps
        self.features = features
        self.baseline: float | None = None

    def draw(self, low: float) -> float:
        """A uniform action, for warm-up."""
        return float(self.rng.uniform(low, 1.0))

    @torch.no_grad()
    def act(self, state: np.ndarray, noisy_episode: int, low: float) -> float:
        """The policy's action with noise that decays with episodes, within ``low`` to 1."""
        mean = float(self.actor(torch.from_numpy(state)[None]).item())
        sigma = self.settings.sigma * self.settings.sigma_decay**noisy_episode
        return _truncated_normal(mean, sigma, low, 1.0, float(self.rng.uniform()))

    def remember(self, steps: list[Transition], reward: float) -> None:
        """Keep an episode; every step gets the reward of its end."""
        rows = [
            np.concatenate([s.state, [s.action], s.following, [reward, 0.0 if s.last else 1.0]])
            for s in steps
        ]
        fresh = torch.from_numpy(np.stack(rows).astype(np.float32))
        self.replay = torch.cat([self.replay, fresh])[-self.capacity :]

    def learn(self) -> None:
        """One step of both networks on a batch from memory."""
        own, n = self.settings, self.features
        index = self.rng.integers(0, len(self.replay), own.batch)
        rows = self.replay[torch.from_numpy(index)]
        state, action, following = rows[:, :n], rows[:, n : n + 1], rows[:, n + 1 : 2 * n + 1]
        reward, goes_on = rows[:, -2:-1], rows[:, -1:]
        mean = float(reward.mean())
        if self.baseline is None:
            self.baseline = mean
        else:
            self.baseline += own.baseline_alpha * (mean - self.baseline)
        with torch.no_grad():
            ahead = self.slow_critic(torch.cat([following, self.slow_actor(following)], 1))
            target = reward - self.baseline + own.discount * goes_on * ahead
        loss = nn.functional.mse_loss(self.critic(torch.cat([state, action], 1)), target)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        self.actor_optimizer.zero_grad()
        (-self.critic(torch.cat([state, self.actor(state)], 1)).mean()).backward()
        self.actor_optimizer.step()
        for slow, fast in ((self.slow_actor, self.actor), (self.slow_critic, self.critic)):
            with torch.no_grad():
                for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                    a.lerp_(b, own.tau)

    def state(self) -> dict[str, Any]:
        """All that the next episode depends on."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {
            **parts,
            "replay": self.replay,
            "baseline": self.baseline,
            "rng": rng_state(self.rng),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.replay, self.baseline = state["replay"], state["baseline"]
        restore_rng(self.rng, state["rng"])

    def _parts(self) -> dict[str, Any]:
        names = ("actor", "critic", "slow_actor", "slow_critic")
        return {
            name: getattr(self, name) for name in (*names, "actor_optimizer", "critic_optimizer")
        }


def _network(inputs: int, hidden: int, last: nn.Module) -> nn.Sequential:
    output = nn.Linear(hidden, 1)
    network = nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        output,
        last,
    )
    # Small last weights: the first policy is then near the middle, whatever the state.
    nn.init.uniform_(output.weight, -3e-3, 3e-3)
    nn.init.zeros_(output.bias)
    return network


def _truncated_normal(mean: float, sigma: float, low: float, high: float, uniform: float) -> float:
    """The ``uniform`` quantile of a normal distribution cut to ``low`` to ``high``."""
    mean = min(max(mean, low), high)
    if sigma < 1e-9:
        return mean
    below, above = (0.5 * math.erfc((mean - x) / (sigma * math.sqrt(2))) for x in (low, high))
    quantile = torch.tensor(below + uniform * (above - below), dtype=torch.float64)
    drawn = mean + sigma * float(torch.special.ndtri(quantile))
    return min(max(drawn, low), high)
