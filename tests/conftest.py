"""Options of the test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run tests marked slow too")
    group = parser.getgroup("instruction and device tests on another target")
    group.addoption(
        "--gdb-target", metavar="HOST:PORT", help="a GDB server, instead of the virtual chip"
    )
    group.addoption("--gdb-arch", choices=("gap8", "cortex-m7"), help="what is behind it")
    group.addoption(
        "--gdb-ram",
        metavar="ADDRESS:BYTES",
        help="RAM for the programs, writable and executable (default: L2 of the GAP8 behind "
        "0x1C010000, all RAM of an STM32F746)",
    )
    group.addoption(
        "--gdb-uart-loopback",
        action="store_true",
        help="a wire joins TX and RX of the target's UART",
    )
    group.addoption(
        "--gdb-gpio-loopback", action="store_true", help="a wire joins its GPIO17 and GPIO18"
    )
    group.addoption(
        "--gdb-cycles-within",
        type=float,
        metavar="FRACTION",
        help="how far rows of cycles may be off there (default: what the virtual chip is held to)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
