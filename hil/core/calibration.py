"""The label by which a meter's identity names the calibration that was applied to its readings."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

# Runs of before the expiry was told have no "until".
_LABEL = re.compile(
    r"calibrated (?P<date>\d{4}-\d\d-\d\d)(?: until (?P<expires>\d{4}-\d\d-\d\d))?"
    r" sha256:(?P<digest>[0-9a-f]+)"
)


@dataclass(frozen=True)
class CalibrationLabel:
    """``expires``: the last day on which it counts; None where an older run does not tell it."""

    date: datetime.date
    expires: datetime.date | None
    digest: str

    def __str__(self) -> str:
        until = "" if self.expires is None else f" until {self.expires.isoformat()}"
        return f"calibrated {self.date.isoformat()}{until} sha256:{self.digest}"

    @classmethod
    def in_identity(cls, identity: str) -> CalibrationLabel | None:
        """The label in a meter's identity; None for readings that were taken as they are."""
        found = _LABEL.search(identity)
        if found is None:
            return None
        expires = found["expires"]
        return cls(
            datetime.date.fromisoformat(found["date"]),
            None if expires is None else datetime.date.fromisoformat(expires),
            found["digest"],
        )
