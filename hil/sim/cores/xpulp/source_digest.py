"""A digest of the simulator's sources, part of numba's cache key (see the engine)."""

from __future__ import annotations

import hashlib
from pathlib import Path


def _digest() -> str:
    here = Path(__file__).parent
    folders = (here, here.parents[1] / "socs" / "gap8")
    digest = hashlib.sha256()
    for path in sorted(p for folder in folders for p in folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


SOURCE_DIGEST = _digest()
