"""The C face of ``hil.core.console``: one source for both ends of the wire.

Message numbers and structure formats come from that module; only the C member names, which
``struct`` formats do not carry, live here. A format and its names must agree in number.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from codegen.render import render
from hil.core import console
from hil.core.errors import PlanError

# (structure of hil.core.console, what the structure is, C member names)
STRUCTURES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("HEADER", "Frame header, after SYNC", ("type", "sequence", "length")),
    (
        "IDENTITY",
        "HELLO and the answer to IDENTIFY",
        (
            "protocol",
            "layers",
            "compute_clock_hz",
            "control_clock_hz",
            "reset_cause",
            "chip_id",
            "build_id",
            "board",
            "network",
        ),
    ),
    (
        "SELF_TEST",
        "Answer to SELF_TEST",
        ("counter_cycles", "reference_cycles", "iterations"),
    ),
    ("LOAD_INPUT", "LOAD_INPUT; the bytes follow", ("offset",)),
    ("SET_PARTITION", "SET_PARTITION", ("layers",)),
    ("PARTITION_SET", "Answer to SET_PARTITION", ("output_bytes",)),
    ("RUN", "RUN", ("warmup", "iterations", "flags")),
    ("RUN_DONE", "Answer to RUN; layer_cycles follow", ("iterations", "total_cycles")),
    ("LAYER_CYCLES", "Cycles of one layer", ("total", "compute", "copy")),
    ("READ_TENSOR", "READ_TENSOR", ("tensor", "offset", "length")),
    ("REPEAT_LAYERS", "REPEAT_LAYERS; a u16 count a layer follows", ("first", "gap_us")),
    ("EMPTY_WINDOWS", "EMPTY_WINDOWS", ("count", "gap_us")),
    ("EMPTY_WINDOW", "Cycles of one empty window", ("rise", "pass", "fall", "layer")),
    ("FAULT", "Answer to READ_FAULT", ("present", "cause", "pc", "address", "words")),
    ("ERROR", "ERROR", ("code", "detail")),
)

C_TYPES = {"B": "uint8_t", "H": "uint16_t", "I": "uint32_t", "Q": "uint64_t"}


@dataclass(frozen=True)
class Member:
    """A member of a packed C structure; ``count`` is 1 for a scalar."""

    name: str
    c_type: str
    count: int


@dataclass(frozen=True)
class Structure:
    """A packed C structure and its size in bytes, asserted by the header itself."""

    name: str
    comment: str
    members: tuple[Member, ...]
    size_bytes: int


def c_structure(name: str, comment: str, member_names: tuple[str, ...]) -> Structure:
    """The C twin of ``hil.core.console.<name>``; PlanError if names and format disagree."""
    layout: struct.Struct = getattr(console, name)
    members = []
    codes = _codes(layout.format)
    for position, member in enumerate(member_names):
        last = position == len(member_names) - 1
        if not codes:
            break
        code, count = codes.pop(0)
        if last and codes and all(c == (code, 1) for c in codes):
            count, codes = 1 + len(codes), []
        members.append(Member(member, C_TYPES[code], count))
    if codes or len(members) != len(member_names):
        raise PlanError(
            f"codegen.protocol: {name} has format {layout.format!r} but {len(member_names)} "
            f"member names {member_names}; bring STRUCTURES in line with hil.core.console"
        )
    return Structure(f"console_{name.lower()}_t", comment, tuple(members), layout.size)


def _codes(layout: str) -> list[tuple[str, int]]:
    """(C type code, array length) a field; ``16s`` is 16 bytes, ``7I`` is seven fields."""
    codes: list[tuple[str, int]] = []
    for count, code in re.findall(r"(\d*)([a-zA-Z])", layout):
        repeat = int(count or 1)
        codes += [("B", repeat)] if code == "s" else [(code, 1)] * repeat
    return codes


def protocol_header() -> str:
    """Text of console_protocol.h."""
    return render(
        "common/console_protocol.h.j2",
        version=console.PROTOCOL_VERSION,
        sync=console.SYNC,
        max_payload=console.MAX_PAYLOAD,
        max_empty_windows=console.MAX_EMPTY_WINDOWS,
        response=console.RESPONSE,
        messages=[(m.name, m.value) for m in console.Message],
        run_flags=[(f.name, f.value) for f in console.RunFlag],
        errors=[(e.name, e.value) for e in console.ErrorCode],
        structures=[c_structure(*row) for row in STRUCTURES],
    )
