"""What has gone wrong on the chip since power-on: faults that handlers took, and warnings."""

from __future__ import annotations

from collections import Counter

from hil.sim.chip import Fault
from hil.sim.cores.cortex_m7.postmortem import Moment


class Incidents:
    """The book of one power-on; resets by software do not clear it."""

    def __init__(self) -> None:
        self._texts: Counter[str] = Counter()
        self.unclocked = 0
        self.faults_taken = 0
        self.taken_fault: Fault | None = None
        self.moment: Moment | None = None  # of the last fault taken

    def warn(self, text: str) -> None:
        """Something that a chip would silently ignore."""
        self._texts[text] += 1

    def unclocked_access(self, text: str) -> None:
        """An access to a peripheral without a clock."""
        self.unclocked += 1
        self.warn(text)

    def fault_taken(self, fault: Fault) -> None:
        """The firmware's handler of ``fault`` begins."""
        self.taken_fault = fault
        self.faults_taken += 1
        self.warn(f"fault taken: {fault}")

    def examined(self, moment: Moment) -> None:
        """How the core looked then."""
        self.moment = moment

    @property
    def warnings(self) -> dict[str, int]:
        """Faults taken, and what a chip would silently ignore, with counts."""
        return dict(self._texts)
