"""Several processes that share the trials of a campaign.

A trial mostly waits: for deadlines that the fault makes it run into, for a twin, for a port that
comes back. So more of them than processors can run at a time. Each process has a bench of its own
and a block of consecutive numbers, so that every kind of fault is in every block.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from hil.core.errors import HilError, RigError
from hil.loop.faults.measuring import preload
from hil.loop.faults.trial import Result

END_S = 30.0  # a process ends its present trial's child and its twin

Work = Callable[[Sequence[int]], Iterator[Result]]


def results_of(work: Work, numbers: Sequence[int], jobs: int) -> Generator[Result]:
    """What ``work`` gives for all ``numbers``, as it comes from ``jobs`` processes.

    RigError when one of them fails or ends before its last number; the others are ended then, as
    they are when the caller closes this generator.
    """
    preload()
    workers = [_start(work, block) for block in blocks(numbers, jobs)]
    readers = dict(workers)
    try:
        while readers:
            for reader in wait(list(readers)):
                assert isinstance(reader, Connection)
                result = _received(reader, readers[reader])
                if result is None:
                    del readers[reader]
                else:
                    yield result
    finally:
        for _, process in workers:
            process.terminate()
        for _, process in workers:
            process.join(END_S)


def blocks(numbers: Sequence[int], jobs: int) -> list[Sequence[int]]:
    """``numbers`` in order, in at most ``jobs`` parts of about one size, none empty."""
    ends = [round(part * len(numbers) / jobs) for part in range(jobs + 1)]
    parts = [numbers[start:end] for start, end in pairwise(ends)]
    return [part for part in parts if part]


def _start(work: Work, block: Sequence[int]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, block, writer))
    process.start()
    writer.close()  # the process has the only one: its end is the end of what can be read
    return reader, process


def _work(work: Work, block: Sequence[int], writer: Connection) -> None:
    """The life of a process: a result each, or the words of an error, and then no more."""
    # An exception, so that bench and twin are taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for result in work(block):
            writer.send(result)
        writer.send(None)
    except HilError as error:
        writer.send(str(error))
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(1)  # nobody listens any more


def _received(reader: Connection, process: BaseProcess) -> Result | None:
    """The next result, None behind the last. RigError instead of what a failed process has not."""
    try:
        answer = reader.recv()
    except EOFError:
        process.join(END_S)
        raise RigError(
            f"faults: process {process.pid} ended with code {process.exitcode} before its last "
            "trial; what is recorded counts, run it again to go on"
        ) from None
    if isinstance(answer, str):
        raise RigError(answer)
    return answer
