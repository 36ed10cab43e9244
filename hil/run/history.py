"""The accepted nights of all rigs in one SQLite file.

One transaction an accepted night and board, in write-ahead mode with full synchronisation: a kill
or a power cut at any moment leaves the night whole or leaves it out. Only accepted nights are
here; what a night measured is in its run folder, accepted or not. Rigs under quarantine are kept
beside them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hil.core.closing import Closing
from hil.core.cost import Interval
from hil.core.errors import DataError, JournalError
from hil.core.provenance import Provenance
from hil.core.series import Accepted, NightCost, Quantity, Series, Verdict

# 1: night, series, provenance, cost, quarantine.
SCHEMA = 1
# "hilN" in ASCII, so that another program's SQLite file is not taken for a history.
APPLICATION = 0x68696C4E
WAIT_S = 30.0  # for another process that is writing
BY_NIGHTLY = "hil nightly"  # with a blank, so that no user has this name

_TABLES = """
CREATE TABLE night (
  id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, run TEXT NOT NULL);
CREATE TABLE series (
  id INTEGER PRIMARY KEY, board TEXT NOT NULL, rig TEXT NOT NULL, network_digest TEXT NOT NULL,
  toolchain TEXT NOT NULL, part TEXT NOT NULL, quantity TEXT NOT NULL, conditions TEXT NOT NULL,
  origin TEXT NOT NULL,
  UNIQUE (board, rig, network_digest, toolchain, part, quantity, conditions));
CREATE TABLE provenance (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
CREATE TABLE cost (
  night INTEGER NOT NULL REFERENCES night, series INTEGER NOT NULL REFERENCES series,
  median REAL NOT NULL, lo REAL NOT NULL, hi REAL NOT NULL, n INTEGER NOT NULL,
  confidence REAL NOT NULL, verdict TEXT NOT NULL,
  provenance INTEGER NOT NULL REFERENCES provenance, PRIMARY KEY (night, series));
CREATE TABLE quarantine (
  rig TEXT PRIMARY KEY, since TEXT NOT NULL, reason TEXT NOT NULL, placed_by TEXT NOT NULL);
"""
_NAMES = "board, rig, network_digest, toolchain, part, quantity, conditions"


@dataclass(frozen=True)
class Quarantine:
    """A rig that is not trusted. Entries of the nightly end by themselves, a person's do not."""

    rig: str
    since: str
    reason: str
    placed_by: str

    @property
    def by_person(self) -> bool:
        return self.placed_by != BY_NIGHTLY


class History(Closing):
    """An open history; made when the file does not exist. Use it in a with statement.

    JournalError names the file when it cannot be opened, is damaged, busy or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"{path}: no folder for the history: {error.strerror}") from error
        with self._explained():
            # Transactions are begun and ended below, never by the library.
            self._db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
        try:
            with self._explained():
                self._set_up()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # -- nights -----------------------------------------------------------------------------

    def accept(self, time: str, run: str, costs: Sequence[tuple[NightCost, Verdict]]) -> int:
        """Add one board's night; returns its number. All of it or nothing is stored.

        DataError when a series holds numbers of another origin: simulated, modelled and measured
        costs never share one.
        """
        with self._transaction():
            number = self._insert("INSERT INTO night (time, run) VALUES (?, ?)", (time, run))
            for cost, verdict in costs:
                self._add(number, cost, verdict)
        return number

    def _add(self, night: int, cost: NightCost, verdict: Verdict) -> None:
        value = cost.value
        numbers = (value.median, value.lo, value.hi, value.n, value.confidence, verdict.value)
        series, origin = self._series_id(cost), self._provenance_id(cost.provenance)
        self._insert(
            "INSERT INTO cost VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (night, series, *numbers, origin),
        )

    def _series_id(self, cost: NightCost) -> int:
        names = _names(cost.series)
        self.refuse_other_origin(cost)
        found = self._db.execute(
            f"SELECT id FROM series WHERE ({_NAMES}) = (?, ?, ?, ?, ?, ?, ?)", names
        ).fetchone()
        if found:
            return int(found[0])
        return self._insert(
            f"INSERT INTO series ({_NAMES}, origin) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*names, cost.origin.value),
        )

    def refuse_other_origin(self, cost: NightCost) -> None:
        """DataError when the history of this part, under any conditions, is of another origin."""
        with self._explained():
            found = self._db.execute(
                "SELECT origin FROM series WHERE (board, rig, network_digest, toolchain, part, "
                "quantity) = (?, ?, ?, ?, ?, ?) AND origin != ?",
                (*_names(cost.series)[:6], cost.origin.value),
            ).fetchone()
        if found:
            raise DataError(
                f"{self.path}: the history of {cost.series} on rig {cost.series.rig} is "
                f"{found[0]}, tonight's value is {cost.origin}; name this rig differently, or use "
                "another history file"
            )

    def _provenance_id(self, provenance: Provenance) -> int:
        text = json.dumps(provenance.to_dict(), sort_keys=True)
        self._db.execute("INSERT OR IGNORE INTO provenance (json) VALUES (?)", (text,))
        found = self._db.execute("SELECT id FROM provenance WHERE json = ?", (text,)).fetchone()
        return int(found[0])

    def accepted(
        self, board: str, rig: str, network_digest: str, toolchain: str
    ) -> dict[Series, tuple[Accepted, ...]]:
        """All accepted values of a network on a rig, oldest first."""
        with self._explained():
            rows = self._db.execute(
                f"SELECT {_NAMES}, night, median, lo, hi, n, confidence, verdict FROM cost "
                "JOIN series ON series.id = cost.series WHERE "
                "(board, rig, network_digest, toolchain) = (?, ?, ?, ?) ORDER BY night",
                (board, rig, network_digest, toolchain),
            ).fetchall()
        found: dict[Series, list[Accepted]] = {}
        try:
            for row in rows:
                board, rig_name, digest, tools, part, quantity, conditions = row[:7]
                night, *numbers, verdict = row[7:]
                kind = Quantity(quantity)
                series = Series(board, rig_name, digest, tools, part, kind, conditions)
                accepted = Accepted(night, Interval(*numbers), Verdict(verdict))
                found.setdefault(series, []).append(accepted)
        except (ValueError, TypeError, DataError) as error:
            raise JournalError(f"{self.path}: damaged: {error}; restore a copy") from error
        return {series: tuple(nights) for series, nights in found.items()}

    def nights(self) -> int:
        """How many board's nights have been accepted."""
        with self._explained():
            return int(self._db.execute("SELECT count(*) FROM night").fetchone()[0])

    # -- quarantine -------------------------------------------------------------------------

    def quarantine(self, rig: str, time: str, reason: str, placed_by: str = BY_NIGHTLY) -> None:
        """Note a rig as failed. A new reason replaces the old one; the date of the first stays.

        The nightly's own entry never replaces a person's, who may have placed it meanwhile.
        """
        with self._transaction():
            self._db.execute(
                "INSERT INTO quarantine VALUES (?, ?, ?, ?) ON CONFLICT (rig) DO UPDATE SET "
                "reason = excluded.reason, placed_by = excluded.placed_by "
                "WHERE excluded.placed_by <> ? OR quarantine.placed_by = ?",
                (rig, time, reason, placed_by, BY_NIGHTLY, BY_NIGHTLY),
            )

    def lift(self, rig: str, placed_by: str | None = None) -> bool:
        """End a quarantine, of anybody's or of ``placed_by`` only; False when there was none."""
        with self._transaction():
            done = self._db.execute(
                "DELETE FROM quarantine WHERE rig = ? AND placed_by = coalesce(?, placed_by)",
                (rig, placed_by),
            )
            return done.rowcount > 0

    def quarantined(self) -> dict[str, Quarantine]:
        """All entries by rig name."""
        with self._explained():
            rows = self._db.execute("SELECT * FROM quarantine ORDER BY rig").fetchall()
        return {row[0]: Quarantine(*row) for row in rows}

    # -- the file ---------------------------------------------------------------------------

    def _set_up(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        with self._transaction():
            version = self._pragma("user_version")
            if version == 0 and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")
                return
        if self._pragma("application_id") != APPLICATION:
            raise JournalError(f"{self.path}: another program's SQLite file, not a history")
        if version != SCHEMA:
            raise JournalError(
                f"{self.path}: a history of schema {version}, this version reads {SCHEMA}; use "
                "the version that wrote it, or another file"
            )
        if (state := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise JournalError(f"{self.path}: damaged: {state}; restore a copy")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _insert(self, statement: str, values: Sequence[object]) -> int:
        return int(self._db.execute(statement, values).lastrowid or 0)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(
                f"{self.path}: the history cannot be used: {error}; if it is busy wait for the "
                "other process, if it is damaged restore a copy"
            ) from error


def _names(series: Series) -> tuple[str, ...]:
    return (
        series.board,
        series.rig,
        series.network_digest,
        series.toolchain,
        series.part,
        series.quantity.value,
        series.conditions,
    )
