"""Bandwidth ranges of a network's cuts from a run's measured costs (Clio, section 3.4)."""

from __future__ import annotations

from pathlib import Path

from hil.clio.slicing.coverage import CutRange, cut_range
from hil.clio.slicing.slice_set import slice_channels
from hil.core.errors import DataError
from hil.loop.campaign import NETWORK_FILE
from hil.loop.report import cost_tables
from hil.measure.segments import segment_latency_s
from hil.nn.network_file import load_network
from hil.run.reader import Run


def cut_ranges(folder: Path, board: str, target_s: float, rule: str) -> dict[str, CutRange | None]:
    """By cut: the bandwidths between which slices by ``rule`` adapt; None where no time is left.

    Computing is the board's measured time alone: the tail's in the cloud is some milliseconds
    and differs by host. Cuts that the board's image does not hold are left out. DataError if the
    run has no costs of ``board``.
    """
    run, network = Run.load(folder), load_network(folder / NETWORK_FILE)
    tables = {table.provenance.board: table for table in cost_tables(run, network)}
    if board not in tables:
        raise DataError(f"{folder}: no costs of board {board!r}; there are {sorted(tables)}")
    table, found = tables[board], {}
    for cut in network.cuts:
        if not 0 < cut.layers < len(network.layers) or cut.layers > len(table.rows):
            continue
        height, width, of_channels = network.tensors[cut.layers].shape
        counts = slice_channels(rule, of_channels)
        computing_s = segment_latency_s(table, 0, cut.layers).median
        found[cut.name] = cut_range(
            cut.name, height * width * counts[0], height * width * counts[-1], target_s, computing_s
        )
    return found
