"""Options of the bench suites (``pytest benchmarks/``)."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from hil.core.secrets import masked


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure's traceback quotes rigs; what their files keep secret is not shown."""
    report = yield
    if masked(report.longreprtext) != report.longreprtext:
        report.longrepr = masked(report.longreprtext)
    return report


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
        metavar="MODEL",
        help="NAME.sliced.npz or NAME.int8.npz of `hil release`, or FILE.py:FUNCTION giving a "
        "torch module (default: the shipped MobileNetV2 with its trained slices)",
    )
    group.addoption(
        "--data",
        default=None,
        metavar="FILE",
        help="labelled images (.npz) instead of the shipped ones; a torch model needs them",
    )
    group.addoption(
        "--run-dir",
        default=None,
        metavar="DIR",
        help="where journal and report go (default: the next runs/NNNN-<name of the bench>)",
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
