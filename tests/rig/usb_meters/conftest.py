"""What every simulated USB meter is fed with, and where its serial port is."""

from __future__ import annotations

from pathlib import Path

import pytest
from usb_board import board_trace

from hil.sim.instruments.power_trace import PowerTrace


@pytest.fixture
def trace() -> PowerTrace:
    return board_trace()


@pytest.fixture
def port(tmp_path: Path) -> Path:
    """Where the simulated meter's serial port is made."""
    return tmp_path / "meter"
