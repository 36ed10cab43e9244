"""The log of a training: one JSON record an epoch, one a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hil.core.errors import DataError


def read_log(path: Path) -> list[dict[str, Any]]:
    """Records of all epochs. DataError for a missing or damaged log."""
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(record["epoch"], int) for record in records):
            raise TypeError("an epoch that is no number")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not a readable training log ({error!r}); restore it, or train anew elsewhere"
        ) from error
    return records


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Append ``record`` in the place of its epoch's and of all later ones."""
    records = read_log(path) if path.exists() else []
    kept = [one for one in records if one["epoch"] < record["epoch"]]
    temporary = path.with_suffix(".tmp")
    lines = [json.dumps(one) for one in [*kept, record]]
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(path)
