"""A training that is killed again and again ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .killed_training import PLACES
from .test_training import state, without_seconds

ROOT = Path(__file__).parents[3]


def differences(one: object, other: object, place: str = "") -> list[str]:
    """Where two checkpoints differ, but for the seconds that an epoch took."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        keys = [key for key in one if key != "seconds"]
        return [d for key in keys for d in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        both = enumerate(zip(one, other, strict=True))
        return [d for i, (a, b) in both for d in differences(a, b, f"{place}/{i}")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [place]
    return [] if type(one) is type(other) and one == other else [place]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_trainings_end_like_an_uninterrupted_one(tmp_path):
    command = [sys.executable, "-m", "tests.clio.slicing.killed_training", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    for place, hook in PLACES.items():
        assert ends[place] == (0 if hook is None else -signal.SIGKILL), place
    assert ends["whole"] == ends["random, to the end"] == 0
    assert -signal.SIGKILL in [end for kill, end in ends.items() if kill.startswith("random ")]
    whole = state(tmp_path / "whole")
    assert whole["epochs_done"] == 3
    for other in ("placed", "random"):
        assert differences(whole, state(tmp_path / other)) == []
        assert without_seconds(tmp_path / other) == without_seconds(tmp_path / "whole")
