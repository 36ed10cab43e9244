"""The right firmware on the board, flashed only when another one answers."""

from __future__ import annotations

from hil.core.errors import ProtocolError, RigError, TargetError
from hil.core.firmware import Firmware
from hil.rig.console import Console
from hil.rig.flashers import Flasher
from hil.rig.messages import Identity


def ensure_firmware(console: Console, flasher: Flasher, firmware: Firmware) -> Identity:
    """Identify, compare build ids, flash if they differ, identify again.

    TargetError when the board still runs something else, or is another kind of board. What was
    found before goes to ``console.on_event``.
    """
    flasher.expect(firmware)
    found = running(console, flasher)
    if isinstance(found, Identity) and found.build_id == firmware.build_id:
        _check_board(found, console.port, firmware)
        return found
    console.on_event("flash", f"{console.port}: {found}; flashing {firmware.build_id[:12]}")
    console.discard_input()
    report = flasher.flash(firmware)
    console.on_event("flashed", f"{report.detail} in {report.duration_s:.1f} s")
    identity = console.wait_hello()
    if identity.build_id != firmware.build_id:
        raise TargetError(
            f"wrong firmware on the board at {console.port}: it runs build "
            f"{identity.build_id[:12]} ({identity.network}), {firmware.build_id[:12]} "
            f"({firmware.network}) was flashed; is the flasher connected to this board?"
        )
    _check_board(identity, console.port, firmware)
    return identity


def running(console: Console, flasher: Flasher) -> Identity | str:
    """Who answers on the console, or in words why nobody does."""
    if flasher.blank():
        return "no firmware on the board"
    try:
        return console.identify()
    except (TargetError, ProtocolError) as error:
        # Not swallowed: the words go into the journal and into `hil rig check`.
        return f"no usable firmware answers ({error})"


def _check_board(identity: Identity, port: str, firmware: Firmware) -> None:
    if identity.board != firmware.board:
        raise RigError(
            f"the board at {port} is a {identity.board}, the firmware is for {firmware.board}; "
            "correct [console] port or board in the rig file"
        )
