"""Tables of a rig file as they are proposed: entries with remarks, and their TOML."""

from __future__ import annotations

import json
from dataclasses import dataclass

Value = str | int | float


@dataclass(frozen=True)
class Entry:
    """``key = value  # remark``."""

    key: str
    value: Value
    remark: str = ""

    def toml(self) -> str:
        """One line; a JSON string is a TOML string, but for DEL."""
        text = (
            json.dumps(self.value, ensure_ascii=False).replace("\x7f", "\\u007f")
            if isinstance(self.value, str)
            else f"{self.value:_}" if isinstance(self.value, int) else repr(self.value)
        )  # fmt: skip
        return f"{self.key} = {text}{f'  # {self.remark}' if self.remark else ''}"


@dataclass(frozen=True)
class Table:
    """``remarks`` stand above it."""

    name: str
    entries: tuple[Entry, ...]
    remarks: tuple[str, ...] = ()

    def toml(self) -> str:
        """The table with its header."""
        lines = [*comments(self.remarks), f"[{self.name}]", *(e.toml() for e in self.entries)]
        return "\n".join(lines) + "\n"


def comments(texts: tuple[str, ...]) -> list[str]:
    """Each as comment lines; a device may have a name of several lines."""
    return [f"# {line}" for text in texts for line in printable(text).splitlines()]


def printable(text: str) -> str:
    """Without control characters, which TOML forbids in comments."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
