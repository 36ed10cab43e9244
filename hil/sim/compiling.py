"""Tell when the simulator is being compiled: about a minute, once for each version of its code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

TOLD = "compiling the simulator; this takes about a minute, once"


@contextmanager
def told_of_compiling(tell: Callable[[str], object]) -> Iterator[None]:
    """``tell`` gets TOLD when numba first compiles something; code from its cache is silent."""
    from numba.core import event

    class Once(event.Listener):  # type: ignore[misc]
        told = False

        def on_start(self, _event: object) -> None:
            if not self.told:
                tell(TOLD)
            self.told = True

        def on_end(self, _event: object) -> None:
            """Nothing to tell."""

    with event.install_listener("numba:compile", Once()):
        yield
