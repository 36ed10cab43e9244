"""Secrets of rig files: remembered when the file is read, masked in whatever people get to see.

A serial port, VISA resource or GDB server may hold credentials (``rfc2217://user:word@host:7000``,
``TCPIP0::user:word@host::INSTR``, ``...?token=...``), and somebody may have written ``password =``
where no such key exists. The rig needs the texts as they are, and libraries quote them in their
errors; so ``HilError``, the journal and the tables of the verbs pass what they show through
``masked``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

MASK = "***"
SHORTEST = 3  # a shorter secret is masked in its place only: its letters are in every word
_NAME = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|auth|(?:api|access|private)[_-]?key)"
)
_SECRET_KEY = re.compile(rf"(?:^|[_-]){_NAME}(?:$|[_-])", re.IGNORECASE)
_PARAMETER = re.compile(rf"(?<![A-Za-z0-9]){_NAME}=([^\s&;,'\"\]]+)", re.IGNORECASE)
# Behind "//" or "::", up to the last @ of the text.
_CREDENTIALS = re.compile(r"(?:.*?(?:://|::))?(.+)@")
# The same in a sentence, whose other words must stay.
_QUOTED_CREDENTIALS = re.compile(r"(?<=://)[^\s/@'\"]+@|(?<=::)[^\s@'\"()]+@")

_known: set[str] = set()


def remember(data: object) -> None:
    """Find the secrets in the parsed content of a rig file, for ``masked`` to hide from now on."""
    for secret in _secrets(data):
        # As it may be quoted: as it is, decoded from a URL, inside a Python or JSON text.
        spellings = {secret, unquote(secret)}
        spellings |= {repr(word)[1:-1] for word in spellings}
        spellings |= {json.dumps(word)[1:-1] for word in spellings}
        _known.update(word for word in spellings if len(word) >= SHORTEST)


def masked(text: str) -> str:
    """``text`` with every remembered secret, and whatever looks like one in it, as ``***``."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _QUOTED_CREDENTIALS.sub(f"{MASK}@", text)
    return _PARAMETER.sub(lambda found: found[0].removesuffix(found[1]) + MASK, text)


def _secrets(data: object, key: str = "") -> Iterator[str]:
    """``key``: under which the data stands, or the secret key above it."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from _secrets(value, key if _SECRET_KEY.search(key) else str(name))
    elif isinstance(data, list):
        for value in data:
            yield from _secrets(value, key)
    elif _SECRET_KEY.search(key):
        yield str(data)
    elif isinstance(data, str):
        if found := _CREDENTIALS.match(data):
            yield found[1]
            yield found[1].partition(":")[2]
        yield from _PARAMETER.findall(data)
