"""A digest of the compiled hooks' sources, part of numba's cache key.

numba asks only whether the file that holds a cached function has changed, not those it calls.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

COMPILED = ("layout.py", "native.py", "native_art.py", "native_data.py", "pointers.py")


def _digest() -> str:
    digest = hashlib.sha256()
    for name in COMPILED:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:16]


SOURCE_DIGEST = _digest()
