"""SCPI as an instrument reads it: header trees, chains, parameters, the error queue.

Rules of SCPI-99 volume 1 (chapters 6 and 7) and IEEE 488.2: words short or long in any case,
parts in brackets left out, ``<n>`` a numeric suffix (1 when absent), several units on a line
divided by ``;``, a unit without a leading ``:`` continuing at the level of the one before it.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

NO_ERROR = (0, "No error")


class ScpiError(Exception):
    """A unit the instrument refuses: number and text go to its error queue."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f'{code},"{text}"')
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Call:
    """One unit's parameters and the numeric suffixes of its header."""

    arguments: tuple[str, ...]
    suffixes: tuple[int, ...]

    def count(self, least: int, most: int | None = None) -> None:
        """ScpiError -109 or -108 unless there are ``least`` to ``most`` parameters."""
        if len(self.arguments) < least:
            raise ScpiError(-109, "Missing parameter")
        if len(self.arguments) > (least if most is None else most):
            raise ScpiError(-108, "Parameter not allowed")


Setter = Callable[[Call], None]
Query = Callable[[Call], bytes]


@dataclass(frozen=True)
class Command:
    """A header as a manual prints it, ``[SENSe:]SWEep:POINts``; None where a form is missing."""

    header: str
    setter: Setter | None = None
    query: Query | None = None


class CommandTable:
    """All commands of an instrument, found by any spelling of their headers."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._patterns = [(header_pattern(command.header), command) for command in commands]

    def find(self, header: str) -> tuple[Command, tuple[int, ...]] | None:
        """The command of a header without its ``?``, and its suffixes."""
        for pattern, command in self._patterns:
            if match := pattern.fullmatch(header):
                return command, tuple(int(suffix or 1) for suffix in match.groups())
        return None


def header_pattern(header: str) -> re.Pattern[str]:
    """A pattern that takes every spelling of ``header``; groups are the numeric suffixes."""
    pattern = ""
    for token in re.findall(r"\[|\]|:|<n>|\*?[A-Za-z]+\d*", header):
        if token == "[":
            pattern += "(?:"
        elif token == "]":
            pattern += ")?"
        elif token == "<n>":
            pattern += r"(\d*)"
        else:
            short = re.sub("[a-z]", "", token)
            pattern += f"(?:{re.escape(token.upper())}|{re.escape(short)})"
    return re.compile(f":?{pattern}", re.IGNORECASE)


def split_outside(text: str, mark: str) -> list[str]:
    """Parts of ``text`` between marks that are in no quotes and no parentheses."""
    parts, quote, depth = [""], "", 0
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
        elif letter == mark and depth == 0:
            parts.append("")
            continue
        parts[-1] += letter
    return [part.strip() for part in parts]


class Dispatcher:
    """Carries out lines against a table; keeps a chain's place when a unit raises Wait.

    The line of an interrupted chain must be handed in again and goes on where it stopped.
    """

    def __init__(self, table: CommandTable, refused: Callable[[ScpiError], None]) -> None:
        self._table = table
        self._refused = refused
        self._units: deque[str] = deque()
        self._answers: list[bytes] = []
        self._path = ""

    def execute(self, line: str) -> bytes | None:
        """The answers of a line joined by ``;`` and its LF, or None."""
        if not self._units:
            self._units.extend(unit for unit in split_outside(line, ";") if unit)
            self._answers, self._path = [], ""
        while self._units:
            try:
                answer = self._unit(self._units[0])
            except ScpiError as error:
                self._refused(error)
                answer = None
            self._units.popleft()
            if answer is not None:
                self._answers.append(answer)
        return b";".join(self._answers) + b"\n" if self._answers else None

    def _unit(self, unit: str) -> bytes | None:
        header, _, rest = unit.partition(" ")
        asks = header.endswith("?")
        full = header.removesuffix("?")
        if not header.startswith((":", "*")):
            full = self._path + full
        found = self._table.find(full)
        command, suffixes = found if found else (None, ())
        form = None if command is None else (command.query if asks else command.setter)
        if form is None:
            raise ScpiError(-113, "Undefined header")
        arguments = tuple(split_outside(rest, ",")) if rest.strip() else ()
        answer = form(Call(arguments, suffixes))
        # Only now: a unit that waits is read again from where it stands.
        if not header.startswith("*"):
            self._path = full[: full.rfind(":") + 1]
        return answer


class ErrorQueue:
    """First in, first out; when full, the newest entry becomes -350."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._errors: deque[tuple[int, str]] = deque()

    def push(self, error: ScpiError) -> None:
        if len(self._errors) >= self._length:
            self._errors[-1] = (-350, "Queue overflow")
        else:
            self._errors.append((error.code, error.text))

    def pop(self) -> tuple[int, str]:
        return self._errors.popleft() if self._errors else NO_ERROR

    def clear(self) -> None:
        self._errors.clear()


# -- parameters -----------------------------------------------------------------------------


def number(text: str, least: float, most: float) -> float:
    """A number or MIN or MAX; ScpiError -104 (no number) or -222 (out of range)."""
    words = {"MIN": least, "MINIMUM": least, "MAX": most, "MAXIMUM": most}
    if text.upper() in words:
        return words[text.upper()]
    try:
        value = float(text)
    except ValueError:
        raise ScpiError(-104, "Data type error") from None
    if not math.isfinite(value) or not least <= value <= most:
        raise ScpiError(-222, "Data out of range")
    return value


def whole(text: str, least: int, most: int) -> int:
    """A whole number in its range."""
    return round(number(text, least, most))


def word(text: str, *known: str) -> str:
    """One of ``known`` (``NORMal``) as its short form; ScpiError -224 when it is none."""
    for entry in known:
        short = re.sub("[a-z]", "", entry)
        if text.upper() in (entry.upper(), short):
            return short
    raise ScpiError(-224, "Illegal parameter value")


def boolean(text: str) -> bool:
    """ON, OFF, 1 or 0."""
    return word(text, "ON", "OFF", "1", "0") in ("ON", "1")


def channels(text: str, count: int) -> tuple[int, ...]:
    """A channel list ``(@1,3:4)`` of an instrument with ``count`` channels."""
    match = re.fullmatch(r"\(@([\d,:\s]+)\)", text)
    if match is None:
        raise ScpiError(-224, "Illegal parameter value")
    found: list[int] = []
    for part in match.group(1).split(","):
        first, _, last = part.partition(":")
        try:
            found += range(int(first), int(last or first) + 1)
        except ValueError:
            raise ScpiError(-224, "Illegal parameter value") from None
    if not found or not all(1 <= channel <= count for channel in found):
        raise ScpiError(-222, "Data out of range")
    return tuple(found)


def quoted(text: str) -> str:
    """A string in either kind of quotes."""
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
        raise ScpiError(-151, "Invalid string data")
    return text[1:-1]


# -- answers --------------------------------------------------------------------------------


def nr3(value: float) -> bytes:
    """A number in scientific notation, as most instruments answer."""
    return f"{value:+.6E}".encode()


def nr1(value: int) -> bytes:
    """A whole number with its sign."""
    return f"{value:+d}".encode()


def block(data: bytes, digits: int | None = None) -> bytes:
    """A definite-length block of IEEE 488.2, its length in ``digits`` places if given."""
    length = str(len(data)).zfill(digits or 1).encode()
    return b"#" + str(len(length)).encode() + length + data
