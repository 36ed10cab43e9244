"""Many trials on one warm bench: numbered, recorded as they end, resumable, summed up."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from hil.core.errors import DataError, FlashError, RigError
from hil.loop.faults.bench import warm_bench
from hil.loop.faults.trial import Outcome, Result, baseline, run_trial
from hil.loop.faults.workers import results_of

RECORD = "trials.jsonl"
# A twin that has ended is a violation by itself, but it must not end the campaign.
MOST_TWINS_LOST = 5

Tell = Callable[[Result, int], None]


@dataclass(frozen=True)
class Job:
    """Trials ``numbers`` of campaign ``seed`` on ``board``, recorded in ``folder``."""

    board: str
    seed: int
    numbers: tuple[int, ...]
    folder: Path


def run_faults(job: Job, tell: Tell, jobs: int = 1) -> list[Result]:
    """All of the job's trials, those recorded already included, ``jobs`` at a time.

    ``tell`` gets each result as it comes and how many are left. DataError when the folder's
    record is damaged or belongs to another campaign, RigError when a bench cannot be set up.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    done = {result.number: result for result in recorded(job)}
    missing = [number for number in job.numbers if number not in done]
    with (
        (job.folder / RECORD).open("a", encoding="utf-8") as record,
        closing(results_of(partial(_results, job), missing, jobs)) as results,
    ):
        if record.tell() == 0:
            record.write(json.dumps(_head(job)) + "\n")
        for left, result in zip(count(len(missing) - 1, -1), results, strict=False):
            record.write(json.dumps(result.to_dict()) + "\n")
            record.flush()
            done[result.number] = result
            tell(result, left)
    return [done[number] for number in job.numbers if number in done]


def _results(job: Job, numbers: Sequence[int]) -> Iterator[Result]:
    """Results in order, on one warm bench; a twin that ends is started anew."""
    missing, lost = list(numbers), 0
    undisturbed = job.folder / f"undisturbed-{missing[0]:05d}"
    while missing:
        with warm_bench(job.board) as bench:
            shutil.rmtree(undisturbed, ignore_errors=True)
            base = baseline(bench, undisturbed)
            while missing:
                number = missing.pop(0)
                try:
                    yield run_trial(
                        bench, base, job.seed, number, job.folder / f"trial-{number:05d}"
                    )
                except FlashError as error:
                    lost += 1
                    if lost > MOST_TWINS_LOST:
                        raise RigError(f"faults: {lost} twins have ended, the last: {error}") from (
                            error
                        )
                    yield _twin_lost(number, error)
                    break


TWIN_LOST = "twin lost"


def _twin_lost(number: int, error: FlashError) -> Result:
    return Result(number, TWIN_LOST, "", Outcome.VIOLATION, (), (f"the twin: {error}",), 0.0)


def _head(job: Job) -> dict[str, object]:
    return {"board": job.board, "seed": job.seed}


def recorded(job: Job) -> list[Result]:
    """What the folder's record holds; an unfinished last line is measured again."""
    path = job.folder / RECORD
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8")
    whole = whole[: whole.rfind("\n") + 1]
    path.write_text(whole, encoding="utf-8")
    lines = whole.splitlines()
    try:
        heads = [json.loads(line) for line in lines[:1]]
        results = [Result.from_dict(json.loads(line)) for line in lines[1:]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error!r}); choose another folder") from error
    if heads and heads[0] != _head(job):
        raise DataError(
            f"{path}: a record of {heads[0]}, this campaign is {_head(job)}; choose another folder"
        )
    return results


def table(results: Sequence[Result]) -> list[tuple[str, Counter[str], Counter[str]]]:
    """For every fault, by name: how often each outcome, and how often who was named."""
    names = sorted({result.name for result in results})
    rows = []
    for name in names:
        of_name = [result for result in results if result.name == name]
        outcomes = Counter(result.outcome.value for result in of_name)
        culprits = Counter(culprit for result in of_name for culprit in result.culprits)
        rows.append((name, outcomes, culprits))
    return rows


def violations(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.outcome is Outcome.VIOLATION]
