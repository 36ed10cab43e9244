"""A trial: one workload of one firmware on one rig, with every raw sample it gave.

The journal stores trials as they are here; medians, intervals and tables are derived from
them again whenever they are needed, so a better estimator improves old runs too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from hil.core.errors import (
    BuildError,
    DataError,
    FlashError,
    HilError,
    InstrumentError,
    JournalError,
    ModelError,
    PlanError,
    ProtocolError,
    RigError,
    SimulationError,
    TargetError,
    WrongOutputError,
)
from hil.core.provenance import Provenance

# Layer numbers of a window around the whole network, and of one around a layer that does nothing.
WHOLE_NETWORK = -1
EMPTY_LAYER = -2


class TrialKind(StrEnum):
    """What is measured."""

    LAYERS = "layers"  # cycles of every layer, one full pass
    NETWORK = "network"  # the whole partition's cycles, no counter reads in between
    ENERGY = "energy"  # energy of marked windows
    OVERHEAD = "overhead"  # of the marker and the counter: windows with nothing in them
    SELF_TEST = "self_test"  # the cycle counter against an independent timer


@dataclass(frozen=True)
class Workload:
    """What the firmware is asked to do.

    ``layers`` run from layer 0 (the partition). ``image`` is the input's number in its set
    and ``input_sha256`` the digest of its bytes. ``iterations`` are passes a window: one
    number a layer for energy, one number else. ``warmups`` and ``repeats`` count host
    requests; warm-ups are kept in the trial and labelled.
    """

    kind: TrialKind
    layers: int
    image: int
    input_sha256: str
    iterations: tuple[int, ...] = (1,)
    warmups: int = 0
    repeats: int = 1

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "iterations": list(self.iterations)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Workload:
        kind, iterations = TrialKind(data["kind"]), tuple(data["iterations"])
        return cls(**{**data, "kind": kind, "iterations": iterations})


def trial_key(build_id: str, rig: str, workload: Workload, protocol: int) -> str:
    """SHA-256 (hex) that names a trial before it has run: the same key, the same measurement.

    ``build_id`` already covers network, weights, sources, flags and compiler.
    """
    content = [build_id, rig, workload.to_dict(), protocol]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class LayerCycles:
    """Cycles of one layer in one pass; what is neither compute nor copy is other."""

    total: int
    compute: int
    copy: int

    @property
    def other(self) -> int:
        return self.total - self.compute - self.copy


@dataclass(frozen=True)
class RunSample:
    """One RUN request: cycles of all its iterations, and of each layer of the last one."""

    warmup: bool
    iterations: int
    cycles: int
    layers: tuple[LayerCycles, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        # Triples, not objects: a journal line of 50 layers stays readable.
        return {
            "warmup": self.warmup,
            "iterations": self.iterations,
            "cycles": self.cycles,
            "layers": [[x.total, x.compute, x.copy] for x in self.layers],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSample:
        return cls(**{**data, "layers": tuple(LayerCycles(*x) for x in data["layers"])})


@dataclass(frozen=True)
class WindowSample:
    """One marked window of one repeat: ``iterations`` passes of ``layer``.

    ``energy_uj`` is everything drawn between the edges, base power included.
    ``edge_uncertainty_uj`` is what the unknown place of the edges within a meter sample can
    change. ``cycles`` are the board's own count of the window. ``supply_v`` is the board's
    voltage (0 in older journals). ``clock_ratio`` is the meter's clock to the board's, from
    ``clock_windows`` windows of the same acquisition; 0 of them: not estimated. ``lost_samples``
    were lost in the acquisition and accepted; the energy may be off by ``lost_limit_uj`` for it.
    ``edge_limit_uj``: by what it may be off, the same way in every repeat, because the meter is
    blind around the edges, they bounce, the clocks drift or the current comes late;
    ``estimate_limit_uj``: because ``estimated_samples`` of the window are the meter's estimates.
    """

    warmup: bool
    repeat: int
    layer: int
    iterations: int
    cycles: int
    duration_s: float
    meter_samples: int
    energy_uj: float
    edge_uncertainty_uj: float
    base_power_w: float
    supply_v: float = 0.0
    clock_ratio: float = 1.0
    clock_uncertainty: float = 0.0
    clock_windows: int = 0
    lost_samples: int = 0
    lost_limit_uj: float = 0.0
    edge_limit_uj: float = 0.0
    estimated_samples: int = 0
    estimate_limit_uj: float = 0.0


@dataclass(frozen=True)
class EmptyWindow:
    """Cycles of a window around one pass of a layer that does nothing, by the board's counter.

    ``rise`` and ``fall`` lie between the looks at the counter around each change of the marker,
    ``passed`` between those inside (what a window's ``cycles`` are). ``layer`` is the total of
    such a layer when it is timed by itself.
    """

    rise: int
    passed: int
    fall: int
    layer: int


@dataclass(frozen=True)
class SelfTestSample:
    """Cycles of a loop by the cycle counter and by an independent timer."""

    counter_cycles: int
    reference_cycles: int
    iterations: int


@dataclass(frozen=True)
class Event:
    """Something worth knowing in the morning: a retry, a power-cycle, a lost frame."""

    time: str
    what: str
    detail: str


@dataclass(frozen=True)
class Attachment:
    """Bytes kept beside the journal under their SHA-256, for example a waveform."""

    name: str
    sha256: str
    media_type: str
    size_bytes: int


# First match wins; the classes are siblings, so the order only serves reading.
_WHO: tuple[tuple[type[HilError], str], ...] = (
    (WrongOutputError, "output"),
    (ModelError, "model"),
    (DataError, "data"),
    (PlanError, "plan"),
    (BuildError, "build"),
    (RigError, "rig"),
    (FlashError, "flash"),
    (TargetError, "target"),
    (ProtocolError, "protocol"),
    (InstrumentError, "instrument"),
    (JournalError, "journal"),
    (SimulationError, "simulation"),
)


@dataclass(frozen=True)
class Verdict:
    """Status "ok", or "void" with the reason and who failed (build, flash, target, meter...)."""

    status: str
    reason: str = ""
    who: str = ""

    def __post_init__(self) -> None:
        if self.status not in ("ok", "void"):
            raise DataError(f"a verdict is 'ok' or 'void', not {self.status!r}")
        if (self.status == "void") != bool(self.reason and self.who):
            raise DataError(f"a void trial, and only that, has a reason and who failed: {self}")

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @classmethod
    def void(cls, error: HilError) -> Verdict:
        """The verdict on a trial that ended in ``error``."""
        who = next((name for kind, name in _WHO if isinstance(error, kind)), "bench")
        return cls("void", str(error) or type(error).__name__, who)


OK = Verdict("ok")


@dataclass(frozen=True)
class Trial:
    """One workload on one firmware and rig. Times are ISO 8601 in UTC.

    Only the samples of its kind are filled: ``runs`` for layers and network, ``windows`` for
    energy, ``self_tests`` for the self-test, ``empties`` for the overhead (with ``windows`` where
    the meter could see them). A void trial keeps what it got before it failed.
    """

    key: str
    workload: Workload
    provenance: Provenance
    verdict: Verdict
    started: str
    finished: str
    runs: tuple[RunSample, ...] = ()
    windows: tuple[WindowSample, ...] = ()
    self_tests: tuple[SelfTestSample, ...] = ()
    empties: tuple[EmptyWindow, ...] = ()
    events: tuple[Event, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    def __post_init__(self) -> None:
        origin = self.provenance
        expected = trial_key(origin.build_id, origin.rig, self.workload, origin.protocol)
        if self.key != expected:
            raise DataError(
                f"trial key {self.key[:12]} does not belong to build {origin.build_id[:12]} on "
                f"rig {origin.rig} with this workload ({expected[:12]} does)"
            )

    @property
    def kind(self) -> TrialKind:
        return self.workload.kind

    @property
    def board(self) -> str:
        return self.provenance.board

    @property
    def network(self) -> str:
        return self.provenance.network

    @property
    def ok(self) -> bool:
        return self.verdict.ok

    def timed_runs(self) -> tuple[RunSample, ...]:
        """The runs that count: without warm-ups."""
        return tuple(run for run in self.runs if not run.warmup)

    def timed_windows(self) -> tuple[WindowSample, ...]:
        """The windows that count: without warm-ups."""
        return tuple(window for window in self.windows if not window.warmup)

    def attachment(self, name: str) -> Attachment:
        """The attachment of that name; DataError lists what is there."""
        for attachment in self.attachments:
            if attachment.name == name:
                return attachment
        known = ", ".join(a.name for a in self.attachments) or "none"
        raise DataError(f"trial {self.key[:12]} has no attachment {name!r}; it has: {known}")

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "workload": self.workload.to_dict(),
            "provenance": self.provenance.to_dict(),
            "verdict": asdict(self.verdict),
            "started": self.started,
            "finished": self.finished,
            "runs": [run.to_dict() for run in self.runs],
            "windows": [asdict(window) for window in self.windows],
            "self_tests": [asdict(sample) for sample in self.self_tests],
            "empties": [asdict(sample) for sample in self.empties],
            "events": [asdict(event) for event in self.events],
            "attachments": [asdict(attachment) for attachment in self.attachments],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """The trial back; DataError when fields are missing, unknown or inconsistent."""
        try:
            made: dict[str, Any] = {
                "workload": Workload.from_dict(data["workload"]),
                "provenance": Provenance.from_dict(data["provenance"]),
                "verdict": Verdict(**data["verdict"]),
                "runs": tuple(RunSample.from_dict(x) for x in data["runs"]),
                "windows": tuple(WindowSample(**x) for x in data["windows"]),
                "self_tests": tuple(SelfTestSample(**x) for x in data["self_tests"]),
                # Journals of before protocol 2 have none.
                "empties": tuple(EmptyWindow(**x) for x in data.get("empties", ())),
                "events": tuple(Event(**x) for x in data["events"]),
                "attachments": tuple(Attachment(**x) for x in data["attachments"]),
            }
            return cls(**{**data, **made})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"damaged trial: {error!r}") from error
