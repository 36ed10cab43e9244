"""What host and firmware share of the EnergyRunner protocol of MLPerf Tiny (docs/energyrunner.md).

Source: mlcommons/tiny, benchmark/api and benchmark/runner.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from hil.core.errors import PlanError


class Mode(StrEnum):
    """What a timestamp is: a line of text, or a falling edge of the marker pin."""

    PERFORMANCE = "performance"
    ENERGY = "energy"


# 8N1. In energy mode the runner talks through its I/O manager, an Arduino Uno.
BAUD = {Mode.PERFORMANCE: 115_200, Mode.ENERGY: 9_600}
COMMAND_CHARACTERS = 80  # without the "%"
# Data bytes of one `db` command as the public runner sends them; in energy mode its I/O manager
# wraps the command, and the line has room for fewer.
DB_BYTES = {Mode.PERFORMANCE: 31, Mode.ENERGY: 26}
HOLD_S = 50e-6  # how long a timestamp keeps the marker low in energy mode
# Benchmarks whose input is an image, sent as its pixels.
MODELS = ("ic01", "vww01")
OTHER_MODELS = ("ad01", "kws01", "strww01")


@dataclass(frozen=True)
class Image:
    """What an EnergyRunner firmware says it is; a mode is an image of its own.

    PlanError for a benchmark that this firmware does not take, and for a name that would break
    the protocol's lines.
    """

    mode: Mode = Mode.PERFORMANCE
    model: str = "ic01"
    device_name: str = "hil-clio"

    def __post_init__(self) -> None:
        if self.model in OTHER_MODELS:
            raise PlanError(
                f"EnergyRunner model {self.model!r}: its input are features of sound, networks "
                f"here take images; choose {' or '.join(MODELS)}"
            )
        if self.model not in MODELS:
            raise PlanError(f"no EnergyRunner model {self.model!r}; choose {' or '.join(MODELS)}")
        if not re.fullmatch(r"[\w.-]{1,40}", self.device_name, re.ASCII):
            raise PlanError(
                f"EnergyRunner device name {self.device_name!r}: 1 to 40 letters, digits, '.', '_' "
                "and '-' only"
            )
