"""A console on another computer's serial port: RFC 2217 and plain TCP."""

from __future__ import annotations

import pytest
from remote_port import RemotePort
from scripted_bench import QUICK, Bench

from hil.core.errors import PortLostError, RigError
from hil.rig.console import Console
from hil.rig.ports import open_port, url_host
from hil.rig.presence import console_missing


@pytest.mark.parametrize("rfc2217", [False, True])
def test_a_board_answers_through_it(bench: Bench, rfc2217: bool) -> None:
    bench.probe.flash(bench.firmware())
    with RemotePort(bench.port, rfc2217) as remote:
        with Console(remote.url, 1_000_000, QUICK) as console:
            assert console.identify().build_id == "ab" * 32
            console.self_test()
            data = bytes(range(256)) * 11  # with 0xFF, which RFC 2217 has to escape
            console.load_input(data)
            assert console.read_tensor(0, len(data)) == data
        assert console_missing(remote.url) == ""
        with Console(remote.url, 1_000_000, QUICK) as console:  # and again after closing
            assert console.identify().board == "gap8"


def test_a_server_that_ends_is_a_lost_port(bench: Bench) -> None:
    bench.probe.flash(bench.firmware())
    with RemotePort(bench.port) as remote:
        console = Console(remote.url, 1_000_000, QUICK)
        console.identify()
    with console, pytest.raises(PortLostError, match="was lost"):
        console.identify()


def test_nobody_serves_it() -> None:
    for scheme in ("rfc2217", "socket"):
        with pytest.raises(RigError, match=r"remote serial port .* is its server running"):
            open_port(f"{scheme}://127.0.0.1:1", 1_000_000)


def test_hosts_of_urls() -> None:
    assert url_host("rfc2217://me:w@rd@lab:7000?logging=info") == ("lab", "7000")
    assert url_host("socket://lab") == ("", "lab")
