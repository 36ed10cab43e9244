"""Trainings in processes of their own that are killed (SIGKILL), and gone on with.

``python -m tests.clio.slicing.killed_training FOLDER`` trains into FOLDER/whole without a break,
into FOLDER/placed with a kill at each of PLACES, and into FOLDER/random with kills at random
times while a checkpoint takes long to write. It prints how every process ended, as JSON. Each
training is a fork of this process, so that torch is loaded once.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from hil.clio.slicing.recipe import SANDWICH
from hil.nn import train as training

from .conftest import pictures, task

RECIPE = training.TrainRecipe(3, 16, 0.05)
RANDOM_KILLS = 4


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(steps: int) -> Callable:
    def hook(learnt) -> None:
        loss, calls = learnt.loss, iter(range(steps))

        def counted(*arguments):
            if next(calls, None) is None:
                die()
            return loss(*arguments)

        learnt.loss = counted

    return hook


def saving(finish: Callable[[bytes, Path], None]) -> Callable:
    """Whatever is saved goes, as bytes, through ``finish``."""

    def hook(_) -> None:
        save = torch.save

        def replaced(content, path) -> None:
            buffer = io.BytesIO()
            save(content, buffer)
            finish(buffer.getvalue(), path)

        torch.save = replaced

    return hook


def half(data: bytes, path: Path) -> None:
    path.write_bytes(data[: len(data) // 2])
    die()


def all_but_renamed(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    die()


def slowly(data: bytes, path: Path) -> None:
    with path.open("wb") as file:
        for start in range(0, len(data), 1 + len(data) // 20):
            file.write(data[start : start + 1 + len(data) // 20])
            file.flush()
            time.sleep(0.01)


def before_the_log(_) -> None:
    training.append_record = die


def half_a_log(_) -> None:
    def written(path: Path, text: str, **_) -> None:
        path.write_bytes(text.encode()[: len(text) // 2])
        die()

    Path.write_text = written


# Steps count from where a process goes on. Five steps an epoch, three epochs.
PLACES: dict[str, Callable | None] = {
    "in epoch 1": at_step(2),
    "half a checkpoint, the first": saving(half),
    "before the rename": saving(all_but_renamed),
    "between checkpoint and log": before_the_log,
    "in epoch 2": at_step(3),
    "half a checkpoint, the second": saving(half),
    "half a log": half_a_log,
    "to the end": None,
}


def start(out: Path, hook: Callable | None) -> int:
    """Train in a fork of this process; its id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        learnt = task(SANDWICH)
        if hook is not None:
            hook(learnt)
        training.fit(learnt, RECIPE, pictures(80, 1), pictures(45, 2), out, lambda _: None)
        status = 0
    finally:
        os._exit(status)


def ended(process: int) -> int:
    """0, or the negative number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    task(SANDWICH)  # captured once, before all forks
    started = time.monotonic()
    ends = {"whole": ended(start(folder / "whole", None))}
    taken_s = time.monotonic() - started
    for place, hook in PLACES.items():
        ends[place] = ended(start(folder / "placed", hook))
    draw = random.Random(4)
    for kill in range(RANDOM_KILLS):
        process = start(folder / "random", saving(slowly))
        time.sleep(taken_s * draw.uniform(0.1, 0.9))
        os.kill(process, signal.SIGKILL)  # of one that has ended already: it is not yet waited for
        ends[f"random {kill}"] = ended(process)
    ends["random, to the end"] = ended(start(folder / "random", None))
    print(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
