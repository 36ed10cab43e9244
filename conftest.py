"""Options of the bench suites (``pytest benchmarks/``)."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "hardware-in-the-loop bench")
    group.addoption(
        "--rig",
        default="virtual",
        metavar="NAME",
        help="bench to measure on: a name in boards/rigs or rigs/, or a TOML file "
        "(default: virtual)",
    )
    group.addoption(
        "--model",
        default=None,
        metavar="FILE",
        help="quantised network (.npz, from `hil release`); default: the shipped MobileNetV2",
    )
    group.addoption(
        "--run-dir",
        default=None,
        metavar="DIR",
        help="where journal and report go (default: runs/<rig>-<date>)",
    )
    group.addoption(
        "--resume",
        action="store_true",
        help="measure only what the newest run of this rig (or --run-dir) has not got yet",
    )
    group.addoption(
        "--images",
        type=int,
        default=20,
        metavar="N",
        help="images on which every layer's output is checked bit for bit (default: 20)",
    )
