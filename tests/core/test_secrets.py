"""Secrets are found wherever a rig file may hold them, and masked however they are quoted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hil.core import secrets
from hil.core.errors import RigError
from hil.core.secrets import masked, remember


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(secrets, "_known", set())
    yield


@pytest.mark.parametrize(
    ("data", "secret"),
    [
        ({"console": {"port": "rfc2217://alice:hunter2@lab:7000"}}, "hunter2"),
        ({"console": {"port": "rfc2217://alice:a/b@c:d@lab:7000"}}, "a/b@c:d"),
        ({"meter": {"resource": "TCPIP0::alice:hunter2@10.0.0.9::hislip0::INSTR"}}, "hunter2"),
        ({"flasher": {"server": "alice:hunter2@lab:3333"}}, "hunter2"),
        ({"flasher": {"server": "https://lab/?token=hunter2&x=1"}}, "hunter2"),
        ({"flasher": {"program": "openocd --password=hunter2"}}, "hunter2"),
        ({"meter": {"password": "hunter2"}}, "hunter2"),
        ({"meter": {"api_key": 918273}}, "918273"),
        ({"secret": {"deep": [{"value": "hunter2"}]}}, "hunter2"),
        ({"meter": {"MQTT_TOKEN": "hunter2"}}, "hunter2"),
    ],
)
def test_found_and_masked(data: dict[str, object], secret: str) -> None:
    remember(data)
    assert secret not in masked(f"could not open '{secret}': {data!r}")
    assert secret not in str(RigError(f"no {data}"))
    assert f"{RigError(secret)}" == "***"


def test_quoted_in_other_spellings() -> None:
    remember({"port": "rfc2217://alice:p%40ss%22w@lab:7000", "password": 'back\\slash"quote'})
    for text in ("p%40ss%22w", 'p@ss"w', repr('p@ss"w'), repr('back\\slash"quote')):
        shown = masked(f"cannot log in with {text}!")
        assert "ss" not in shown.removeprefix("cannot log in with") and "slash" not in shown


def test_what_was_never_in_a_rig_file_is_masked_by_its_shape() -> None:
    assert masked("ssh://bob:word@host failed") == "ssh://***@host failed"
    assert masked("TCPIP0::bob:word@host::INSTR") == "TCPIP0::***@host::INSTR"
    assert masked("GET /?token=abc&x=1") == "GET /?token=***&x=1"


@pytest.mark.parametrize(
    "text",
    [
        "MEAS:CURR? (@1): timed out",
        "TCPIP0::127.0.0.1::5025::SOCKET: cannot be opened",
        "/dev/serial/by-id/usb-STMicroelectronics_STM32_STLink_066AFF53-if02 is busy",
        "missing password, token",
        "write to lab@example.org",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    remember({"meter": {"resource": "TCPIP0::127.0.0.1::5025::SOCKET"}, "name": "desk"})
    assert masked(text) == text


def test_a_short_secret_does_not_spoil_every_word() -> None:
    remember({"port": "rfc2217://u:a@lab:7000"})
    assert masked("a board at rfc2217://u:a@lab:7000") == "a board at rfc2217://***@lab:7000"
