"""The XML documents that a stub describes its chip with.

Source: GDB manual, "Target Description Format" and "Memory Map Format".
"""

from __future__ import annotations

from itertools import groupby
from xml.sax.saxutils import quoteattr

from hil.sim.debug import Debugger, Region, Register


def target_xml(chip: Debugger) -> bytes:
    """Architecture and registers, numbered in their order."""
    parts = [
        '<?xml version="1.0"?>',
        '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
        '<target version="1.0">',
        f"<architecture>{chip.architecture}</architecture>",
        "<osabi>none</osabi>",  # else GDB takes RISC-V for Linux, which it steps by itself
    ]
    numbered = enumerate(chip.registers)
    for feature, members in groupby(numbered, lambda member: member[1].feature):
        parts.append(f"<feature name={quoteattr(feature)}>")
        parts += [_register(number, register) for number, register in members]
        parts.append("</feature>")
    parts.append("</target>")
    return "\n".join(parts).encode("ascii")


def _register(number: int, register: Register) -> str:
    kind = f" type={quoteattr(register.kind)}" if register.kind else ""
    return (
        f'<reg name={quoteattr(register.name)} bitsize="{register.bits}" regnum="{number}"{kind}/>'
    )


def memory_map_xml(chip: Debugger) -> bytes:
    """RAM, ROM, and flash with its sector sizes."""
    parts = [
        '<?xml version="1.0"?>',
        '<!DOCTYPE memory-map PUBLIC "+//IDN gnu.org//DTD GDB Memory Map V1.0//EN" '
        '"http://sourceware.org/gdb/gdb-memory-map.dtd">',
        "<memory-map>",
        *map(_region, chip.regions),
        "</memory-map>",
    ]
    return "\n".join(parts).encode("ascii")


def _region(region: Region) -> str:
    place = f'<memory type="{region.kind}" start="0x{region.start:x}" length="0x{region.size:x}"'
    if region.kind != "flash":
        return f"{place}/>"
    return f'{place}><property name="blocksize">0x{region.sector_bytes:x}</property></memory>'
