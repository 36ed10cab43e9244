"""The whole way on the virtual chips themselves: build, open, flash, run, read the meter."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import boards
from codegen.build import build
from codegen.generate import generate
from hil.core.console import RunFlag
from hil.core.network import Op
from hil.nn import reference
from hil.nn.random_layers import random_input, random_network
from hil.rig.bench import open_rig
from hil.rig.rigfile import load_rig


@pytest.mark.slow
@pytest.mark.parametrize("board_name", ["stm32f746", "stm32f767", "gap8"])
def test_outputs_cycles_and_windows_agree(board_name: str, tmp_path: Path) -> None:
    network = random_network(
        Op.POINTWISE, 12, 12, 8, 16, (1, 1), (1, 1), (0, 0, 0, 0), signed_in=True, seed=1
    )
    image = random_input(network, 1)
    expected = reference.run(network, image)
    board = boards.load_board(board_name)
    firmware = build(generate(network, board), board, tmp_path)
    with open_rig(load_rig(f"virtual-{board_name}")) as rig:
        identity = rig.ensure_firmware(firmware)
        assert identity.compute_clock_hz == board.compute_clock_hz
        rig.console.load_input(image.tobytes())
        rig.console.run(flags=RunFlag.DIGEST)
        assert rig.console.read_digests(1) == (zlib.crc32(expected[1].tobytes()),)
        with rig.meter.acquisition(0.1) as acquisition:
            (cycles,) = rig.console.repeat_layers(0, 500, [300])
            waveform = acquisition.read()
        rise, fall = np.flatnonzero(np.diff(waveform.marker.astype(int)))
        window_s = (fall - rise) * waveform.sample_interval_s
        assert window_s == pytest.approx(cycles / board.compute_clock_hz, abs=2e-5)
        work_w = np.mean(waveform.power_w[rise + 2 : fall - 1])
        assert work_w > np.mean(waveform.power_w[5 : rise - 55])
        assert not waveform.overload and waveform.lost_samples == 0
        assert rig.reset_board().build_id == firmware.build_id
