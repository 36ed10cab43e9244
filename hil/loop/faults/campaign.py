"""Many trials on one warm bench: numbered, recorded as they end, resumable, summed up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.core.errors import DataError, FlashError, RigError
from hil.loop.faults.bench import warm_bench
from hil.loop.faults.trial import Outcome, Result, baseline, run_trial

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


def run_faults(job: Job, tell: Tell) -> list[Result]:
    """All of the job's trials, those recorded already included.

    ``tell`` gets each result as it comes and how many are left. DataError when the folder's
    record is damaged or belongs to another campaign.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    done = {result.number: result for result in recorded(job)}
    missing = [number for number in job.numbers if number not in done]
    with (job.folder / RECORD).open("a", encoding="utf-8") as record:
        if record.tell() == 0:
            record.write(json.dumps(_head(job)) + "\n")
        for left, result in _results(job, missing):
            record.write(json.dumps(result.to_dict()) + "\n")
            record.flush()
            done[result.number] = result
            tell(result, left)
    return [done[number] for number in job.numbers if number in done]


def _results(job: Job, missing: list[int]) -> Iterator[tuple[int, Result]]:
    """Results in order, with the number of trials left; a twin that ends is started anew."""
    lost = 0
    while missing:
        with warm_bench(job.board) as bench:
            base = baseline(bench, _fresh(job.folder / "undisturbed"))
            while missing:
                number = missing[0]
                try:
                    result = run_trial(
                        bench, base, job.seed, number, job.folder / f"trial-{number:05d}"
                    )
                except FlashError as error:
                    lost += 1
                    if lost > MOST_TWINS_LOST:
                        raise RigError(f"faults: {lost} twins have ended, the last: {error}") from (
                            error
                        )
                    result = _twin_lost(number, error)
                missing.pop(0)
                yield len(missing), result
                if result.name == TWIN_LOST:
                    break


TWIN_LOST = "twin lost"


def _twin_lost(number: int, error: FlashError) -> Result:
    return Result(number, TWIN_LOST, "", Outcome.VIOLATION, (), (f"the twin: {error}",), 0.0)


def _fresh(folder: Path) -> Path:
    """The next unused folder beside ``folder``."""
    numbers = (folder.with_name(f"{folder.name}-{i}") for i in range(1, 1_000_000))
    return next(path for path in numbers if not path.exists())


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
