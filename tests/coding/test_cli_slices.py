"""``hil slice-sizes`` prints what the library says."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from hil.cli import app
from hil.core.errors import DataError


def rows(*arguments: str) -> list[list[float]]:
    """Numbers of each table row."""
    done = CliRunner().invoke(app, ["slice-sizes", *arguments], env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    found = re.findall(r"^ stem +([\d.% ]+)$", done.output, re.MULTILINE)
    return [[float(number.rstrip("%")) for number in row.split()] for row in found]


def test_sizes_of_every_border() -> None:
    table = rows("--cut", "stem", "--bits", "3")
    assert [row[:3] for row in table] == [[n, 1024 * n, 384 * n] for n in range(1, 17)]
    for _, raw, packed, mean, median, largest, percent in table:
        assert 0 < mean < packed and 0 < median <= largest
        assert percent == pytest.approx(100 * mean / raw, abs=0.1)


def test_no_such_bits() -> None:
    done = CliRunner().invoke(app, ["slice-sizes", "--cut", "stem", "--bits", "9"])
    assert isinstance(done.exception, DataError) and "9 bits; choose 1 to 8" in str(done.exception)
