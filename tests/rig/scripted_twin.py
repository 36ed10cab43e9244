"""A twin process with a firmware double: what the rig's tests start instead of a chip."""

from __future__ import annotations

import argparse
from pathlib import Path

from hil.sim.scripted_chip import ScriptedChip
from hil.sim.twin import Twin, serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--board", required=True)
    parser.add_argument("--dir", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--meter", default="scpi_digitizer")
    parser.add_argument("--parent", type=int)
    given = parser.parse_args()
    chip = ScriptedChip(given.board)
    serve(Twin(chip, given.board, given.dir, given.seed, given.parent, given.meter))
