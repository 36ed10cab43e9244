"""The file from which a killed search goes on: written after every step, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hil.core.errors import DataError
from hil.nn.stored import read_state


class SearchState:
    """State of one search in ``path`` (None: kept nowhere), tied to what it searches for.

    ``identity`` must be JSON; a file with another one is refused with a DataError.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any]):
        self.path = path
        self.identity = json.dumps(identity, sort_keys=True)

    def save(self, state: dict[str, Any]) -> None:
        """``state`` of tensors, numbers, texts, lists and dicts."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        torch.save({"identity": self.identity, "state": state}, temporary)
        temporary.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None if nothing was."""
        if self.path is None or not self.path.exists():
            return None
        held = read_state(self.path, "search state", "remove it to search anew")
        if not held.keys() >= {"identity", "state"}:
            raise DataError(f"{self.path}: not a search state (of {list(held)}); remove it")
        identity, state = held["identity"], held["state"]
        if identity != self.identity:
            raise DataError(
                f"{self.path} belongs to a search with {identity}, this one has {self.identity}; "
                "choose another --out or remove it"
            )
        return state


def rng_state(rng: np.random.Generator) -> str:
    """A NumPy generator's state as text."""
    return json.dumps(rng.bit_generator.state)


def restore_rng(rng: np.random.Generator, state: str) -> None:
    rng.bit_generator.state = json.loads(state)
