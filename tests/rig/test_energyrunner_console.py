"""The host's end of the EnergyRunner protocol against a board that misbehaves on a real pty."""

from __future__ import annotations

import os
import pty
import threading
import tty
from collections.abc import Callable, Iterator

import pytest

from hil.core.energyrunner import Mode
from hil.core.errors import ProtocolError, TargetError
from hil.rig.console import Timeouts
from hil.rig.energyrunner import EnergyRunnerConsole, Inference

Answers = dict[str, str]


@pytest.fixture
def board() -> Iterator[Callable[[Answers], EnergyRunnerConsole]]:
    """``board(answers)``: a console to a board that gives them; other commands stay unanswered."""
    master, slave = pty.openpty()
    tty.setraw(master)
    answers: Answers = {}
    commands: list[str] = []
    consoles: list[EnergyRunnerConsole] = []

    def serve() -> None:
        received = b""
        while b"quit%" not in received:
            received += os.read(master, 4096)
            while b"%" in received and not received.startswith(b"quit"):
                command, _, received = received.partition(b"%")
                commands.append(command.decode())
                os.write(master, answers.get(command.decode(), "").encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def connect(given: Answers, mode: Mode = Mode.PERFORMANCE) -> EnergyRunnerConsole:
        answers.update(given)
        consoles.append(EnergyRunnerConsole(os.ttyname(slave), mode, Timeouts(answer_s=0.3)))
        return consoles[0]

    yield connect
    consoles[0].close()
    os.write(slave, b"quit%")
    thread.join(5.0)
    assert not thread.is_alive()
    os.close(master)
    os.close(slave)


def inference(laps: tuple[int, int], results: str) -> str:
    return (
        "m-warmup-start-1\r\nm-warmup-done\r\nm-infer-start-4\r\n"
        f"m-lap-us-{laps[0]}\r\nm-lap-us-{laps[1]}\r\nm-infer-done\r\n{results}\r\nm-ready\r\n"
    )


def test_an_inference_is_read(board) -> None:
    console = board({"infer 4 1": inference((100, 350), "m-results-[-3,0,7]")})
    assert console.infer(4, 1) == Inference(4, 250, (-3, 0, 7))


def test_in_energy_mode_there_are_no_times_in_the_text(board) -> None:
    text = inference((1, 2), "m-results-[5]").replace("m-lap-us-1\r\nm-lap-us-2\r\n", "")
    console = board(
        {
            "infer 4 1": text,
            "infer 4 2": inference((1, 2), "m-results-[5]").replace("start-1", "start-2"),
            "db load 27": "m-[Expecting 27 bytes]\r\nm-ready\r\n",
            f"db {'00' * 26}": "m-ready\r\n",
            "db 00": "m-load-done\r\nm-ready\r\n",
        },
        Mode.ENERGY,
    )
    assert console.baud == 9600
    assert console.infer(4, 1) == Inference(4, 0, (5,))
    console.load(bytes(27))  # 26 bytes a command, then the last one
    with pytest.raises(ProtocolError, match="answered infer"):
        console.infer(4, 2)


@pytest.mark.parametrize(
    "answer",
    [
        inference((350, 350), "m-results-[1]"),  # a timer that stands still
        inference((100, 350), "m-results-[]"),
        inference((100, 350), "m-results-[1,x]"),
        "m-infer-done\r\nm-ready\r\n",
        "e-[Inference iterations must be >0]\r\nm-ready\r\n",
    ],
)
def test_an_inference_that_cannot_be_is_refused(board, answer: str) -> None:
    with pytest.raises(ProtocolError):
        board({"infer 4 1": answer}).infer(4, 1)


def test_a_board_that_stays_silent_is_given_up(board) -> None:
    with pytest.raises(TargetError, match="m-ready"):
        board({"name": "m-name-dut-[x]\r\n"}).name()


def test_bytes_lost_in_a_download_are_seen(board) -> None:
    data = bytes(range(40))
    console = board(
        {
            "db load 40": "m-[Expecting 40 bytes]\r\nm-ready\r\n",
            f"db {data[:31].hex()}": "m-ready\r\n",
            f"db {data[31:].hex()}": "m-ready\r\n",  # the board still waits for more
        }
    )
    with pytest.raises(ProtocolError, match="bytes 31 to 39 of 40"):
        console.load(data)


def test_another_firmware_is_told_apart(board) -> None:
    with pytest.raises(ProtocolError, match="name"):
        board({"name": "hello\r\nm-ready\r\n"}).name()
