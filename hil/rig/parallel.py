"""Several looks at a bench at once, none of which can hold up the others or the program's end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Task(Generic[T]):
    """``work`` in a thread of its own, from now on. The program does not wait for it to end."""

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._result: T | None = None
        self._error: BaseException | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def result(self, limit_s: float) -> T:
        """Its result; its own exception, or TimeoutError when it goes on beyond ``limit_s``."""
        if not self._ended.wait(max(0.0, limit_s)):
            raise TimeoutError(f"nothing within {limit_s:g} s")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever asks
            self._error = error
        finally:
            self._ended.set()


def run_all(
    tasks: Mapping[str, Callable[[], T]], limit_s: float, late: Callable[[str], T]
) -> dict[str, T]:
    """All results by name, after ``limit_s`` at the latest: ``late(name)`` for what goes on.

    An exception of a task is raised.
    """
    deadline_s = time.monotonic() + limit_s
    started = {name: Task(work, name) for name, work in tasks.items()}
    found = {}
    for name, task in started.items():
        try:
            found[name] = task.result(deadline_s - time.monotonic())
        except TimeoutError:
            found[name] = late(name)
    return found
