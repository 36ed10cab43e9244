"""From what is attached to rig files that load: every guess and every gap is marked in them.

``ASSUMED`` is what could not be told for sure, ``NOT FOUND`` what has to be there and is not,
``CHANGE`` a value that only a person knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boards import load_board
from hil.core.errors import RigError
from hil.rig.scan.found_boards import FoundBoard, found_boards
from hil.rig.scan.found_meters import NO_METER, FoundMeter, found_meters
from hil.rig.scan.listing import Listing
from hil.rig.scan.tables import Entry, comments

BENCH = "bench"


@dataclass(frozen=True)
class Proposal:
    """``files``: text by name, without .toml; a bench of them all comes last if there are several.

    ``remarks``: what else is attached, and what could not be looked at.
    """

    files: dict[str, str]
    remarks: tuple[str, ...]


def propose(listing: Listing) -> Proposal:
    """A rig file a board. Without a board there are none, and the remarks say what there is."""
    boards, other_boards = found_boards(listing)
    meters, other_instruments = found_meters(listing)
    remarks = [*other_boards, *other_instruments, *listing.problems]
    if not boards:
        remarks += [f"meter without a board: {meter.what}" for meter in meters]
        remarks += [f"serial port {port.path}: {port.name}" for port in listing.ports]
    files = {board.name: _rig(board, at, meters) for at, board in enumerate(boards)}
    if len(files) > 1:
        names = ", ".join(Entry("", name).toml().removeprefix(" = ") for name in files)
        files[BENCH] = f'name = "{BENCH}"\nrigs = [{names}]\n'
    return Proposal(files, tuple(remarks))


def write(proposal: Proposal, folder: Path) -> list[Path]:
    """Write the files into ``folder``; RigError rather than replace one."""
    paths = [folder / f"{name}.toml" for name in proposal.files]
    if there := [str(path) for path in paths if path.exists()]:
        raise RigError(f"{', '.join(there)}: already there; choose another --out, or move them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, proposal.files.values(), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RigError(f"{folder}: cannot write the rig files: {error}") from error
    return paths


def _rig(found: FoundBoard, at: int, meters: list[FoundMeter]) -> str:
    """The board with the meter of the same number; which feeds which cannot be seen."""
    meter = meters[min(at, len(meters) - 1)] if meters else NO_METER
    head = ["Proposed by `hil rig scan`; then: hil rig check FILE", f"Board: {found.what}"]
    if len(meters) > 1 or (meters and at):
        others = "; ".join(m.what for m in meters if m is not meter) or "none"
        head.append(f"ASSUMED: this meter feeds this board. Other meters: {others}")
    tables = [found.console, found.flasher, *meter.tables(load_board(found.board))]
    if found.power is not None:
        tables.append(found.power)
    top = [*comments(tuple(head)), Entry("name", found.name).toml(),
           Entry("board", found.board).toml()]  # fmt: skip
    return "\n".join(["\n".join(top) + "\n", *(table.toml() for table in tables)])
