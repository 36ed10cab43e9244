"""A rig file with a GDB flasher, from an empty bench to a reset board, on the virtual chips."""

from __future__ import annotations

from pathlib import Path

import pytest

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.errors import RigError
from hil.core.network import Op
from hil.core.provenance import Origin
from hil.nn.random_layers import random_network
from hil.rig.bench import open_rig
from hil.rig.check import check
from hil.rig.rigfile import SHIPPED, load_rig
from hil.rig.twin_process import TwinProcess


def gdb_rig(folder: Path, board: str) -> Path:
    """The shipped virtual rig, with the GDB stub in the debug probe's place."""
    text = (SHIPPED / f"virtual-{board}.toml").read_text()
    flasher = 'kind = "virtual"\ncontrol = "{dir}/control.sock"'
    assert flasher in text
    path = folder / "gdb.toml"
    path.write_text(text.replace(flasher, 'kind = "gdb"\nserver = "127.0.0.1:{gdb_port}"'))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("board_name", ["stm32f746", "gap8"])
def test_check_flash_identify_and_reset(board_name: str, tmp_path: Path) -> None:
    network = random_network(
        Op.POINTWISE, 12, 12, 8, 16, (1, 1), (1, 1), (0, 0, 0, 0), signed_in=True, seed=1
    )
    board = boards.load_board(board_name)
    firmware = build(generate(network, board), board, tmp_path)
    rig = load_rig(str(gdb_rig(tmp_path, board_name)))
    items = {item.name: item for item in check(rig)}
    assert all(item.ok for item in items.values()), items
    assert f"hil virtual {board_name}" in items["flasher"].detail
    events: list[tuple[str, str]] = []
    with open_rig(rig, lambda *event: events.append(event)) as opened:
        identity = opened.ensure_firmware(firmware)
        assert identity.build_id == firmware.build_id
        assert [kind for kind, _ in events] == ["flash", "flashed"]
        assert f"hil virtual {board_name}" in events[1][1] and "read back" in events[1][1]
        assert opened.ensure_firmware(firmware) == identity
        assert len(events) == 2  # it runs already: nothing is flashed
        opened.console.run()
        with opened.meter.acquisition(0.002) as acquisition:
            assert acquisition.read().lost_samples == 0
        assert opened.reset_board().build_id == firmware.build_id
        origins = opened.origins()
        assert (origins.cycles, origins.energy) == (Origin.SIMULATED, Origin.MODELLED)


@pytest.mark.slow
def test_a_virtual_chip_does_not_pass_for_a_real_one(tmp_path: Path) -> None:
    twin = TwinProcess("stm32f746", 1, 180.0)
    try:
        text = gdb_rig(tmp_path, "stm32f746").read_text().partition("[virtual]")[0]
        places = {"dir": twin.directory, "meter_port": twin.meter_port, "gdb_port": twin.gdb_port}
        path = tmp_path / "attached.toml"
        path.write_text(text.format(**places))
        with pytest.raises(RigError, match="is a virtual chip"), open_rig(load_rig(str(path))):
            pass
    finally:
        twin.close()
