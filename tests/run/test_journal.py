"""The journal under kills, damage, full disks and second writers."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hil.core.errors import FlashError, JournalError
from hil.core.provenance import Origin, Provenance
from hil.core.trial import (
    OK,
    LayerCycles,
    RunSample,
    Trial,
    TrialKind,
    Verdict,
    Workload,
    trial_key,
)
from hil.run.journal import Journal, folder_word, new_run_folder
from hil.run.lines import Line, read_lines
from hil.run.reader import JOURNAL, Planned, Run, Status, has_started, list_runs

ORIGIN = Provenance(
    Origin.SIMULATED, Origin.MODELLED, "gap8", "00", 10**6, "zig", "b" * 64, "net", "d" * 64,
    "t1", "m1", "virtual", 1,
)  # fmt: skip


def trial(image: int, verdict: Verdict = OK) -> Trial:
    work = Workload(TrialKind.LAYERS, 2, image, "5" * 64)
    runs = (RunSample(False, 1, 30, (LayerCycles(10, 5, 2), LayerCycles(20, 9, 3))),)
    key = trial_key(ORIGIN.build_id, ORIGIN.rig, work, 1)
    return Trial(key, work, ORIGIN, verdict, "t0", "t1", runs=runs)


PLAN = [Planned(trial(i).key, f"image {i}") for i in range(3)]


def finished_run(folder: Path, images: int = 3) -> Path:
    with Journal.create(folder, "test", {"python": "3.11"}) as journal:
        journal.plan(PLAN)
        for image in range(images):
            journal.record(trial(image))
    return folder / JOURNAL


def test_a_whole_run_reads_back(tmp_path: Path) -> None:
    finished_run(tmp_path)
    run = Run.load(tmp_path)
    assert (run.name, run.status, run.reason) == ("test", Status.SUCCESS, "")
    assert run.trials == tuple(trial(i) for i in range(3))
    assert run.planned == tuple(PLAN) and run.missing == ()
    assert run.environment == {"python": "3.11"} and run.tail == b""


def test_every_line_is_plain_json_with_a_checksum_anybody_can_check(tmp_path: Path) -> None:
    path = finished_run(tmp_path)
    for i, text in enumerate(path.read_text().splitlines()):
        line = json.loads(text)
        content = [line["seq"], line["kind"], line["time"], line["body"]]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert line["seq"] == i
        assert line["sha"] == hashlib.sha256(canonical.encode()).hexdigest()


def test_resume_measures_only_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Journal.create(tmp_path, "test", {}) as journal:
        assert journal.plan(PLAN) == tuple(PLAN)
        journal.record(trial(0))
        journal.record(trial(1, Verdict.void(FlashError("no probe"))))
        raise KeyboardInterrupt
    aborted = Run.load(tmp_path)
    assert aborted.status is Status.ABORT
    assert [plan.label for plan in aborted.missing] == ["image 1", "image 2"]
    with Journal.resume(tmp_path) as journal:
        assert [plan.label for plan in journal.plan(PLAN)] == ["image 1", "image 2"]
        assert journal.finished[PLAN[0].key] == trial(0)
        journal.record(trial(1))
        journal.record(trial(2))
        assert journal.missing() == ()
    run = Run.load(tmp_path)
    assert run.status is Status.SUCCESS and len(run.trials) == 4
    assert run.ok_trials() == (trial(0), trial(1), trial(2))
    assert [t.verdict.who for t in run.void_trials()] == ["flash"]
    assert run.trial(PLAN[1].key) == trial(1) and run.trial("none") is None
    assert [event.what for event in run.events] == ["resume"]


def test_leaving_with_trials_missing_is_a_failed_run(tmp_path: Path) -> None:
    finished_run(tmp_path, images=1)
    run = Run.load(tmp_path)
    assert run.status is Status.FAIL
    assert run.reason == "2 planned trials have no good result: image 1, image 2"


def test_an_error_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(FlashError), Journal.create(tmp_path, "test", {}):
        raise FlashError("gap8: no probe with serial 17")
    run = Run.load(tmp_path)
    assert (run.status, run.reason) == (Status.FAIL, "gap8: no probe with serial 17")


def test_every_possible_truncation_is_recovered(tmp_path: Path) -> None:
    """A kill may leave any prefix: all whole lines survive, the rest is kept aside."""
    whole = finished_run(tmp_path / "whole").read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole), 37):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(whole[:cut])
        lines = whole[:cut].count(b"\n")
        tail = whole[:cut].rsplit(b"\n", 1)[1]
        before = Run.load(folder)
        assert before.tail == tail
        assert before.status is Status.UNFINISHED
        with Journal.resume(folder) as journal:
            assert (journal.recovered is not None) == bool(tail)
            for plan in journal.plan(PLAN):
                journal.record(trial(int(plan.label[-1])))
        after = Run.load(folder)
        assert after.status is Status.SUCCESS and after.ok_trials() == tuple(map(trial, range(3)))
        assert (folder / JOURNAL).read_bytes().startswith(b"".join(whole.splitlines(True)[:lines]))
        kept = [path.read_bytes() for path in folder.glob("journal.cut-*")]
        assert kept == ([tail] if tail else [])
        assert any(e.what == "recovered" for e in after.events) == bool(tail)


def test_a_last_line_without_newline_is_kept(tmp_path: Path) -> None:
    path = finished_run(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert Run.load(tmp_path).status is Status.SUCCESS
    with Journal.resume(tmp_path) as journal:
        assert journal.recovered is None
    assert len(read_lines(path).lines) == 8


def _flip(data: bytes) -> bytes:
    return data.replace(b'"cycles":30', b'"cycles":31', 1)


def _drop(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(lines[:2] + lines[3:])


def _swap(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([lines[0], lines[1], lines[3], lines[2], *lines[4:]])


def _scribble(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([*lines[:2], b"\0" * 64 + b"\n", *lines[3:]])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_flip, "line 3: its content does not match its checksum"),
        (_drop, "line 3: document number 3 where 2 belongs"),
        (_swap, "line 3: document number 3 where 2 belongs"),
        (_scribble, "line 3: damaged, not a journal document"),
    ],
)
def test_damage_in_the_middle_is_refused(
    tmp_path: Path, spoil: Callable[[bytes], bytes], message: str
) -> None:
    path = finished_run(tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    damaged = path.read_bytes()
    for use in (Run.load, Journal.resume):
        with pytest.raises(JournalError, match=message) as caught:
            use(tmp_path)
        assert str(path) in str(caught.value)
    assert path.read_bytes() == damaged


def python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with the project in reach."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)


class FullDisk:
    """Writes ``room`` bytes, then reports a full disk as the kernel does."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = os.write(fd, data[: self.room])
        self.room -= count
        return count


def test_a_full_disk_loses_nothing_already_written(tmp_path: Path) -> None:
    size = finished_run(tmp_path / "whole").stat().st_size
    for room in range(400, size, 173):
        folder = tmp_path / str(room)
        with (
            pytest.raises(JournalError, match="No space left on device") as caught,
            Journal.create(folder, "test", {"python": "3.11"}, FullDisk(room)) as journal,
        ):
            journal.plan(PLAN)
            for image in range(3):
                journal.record(trial(image))
        assert str(folder / JOURNAL) in str(caught.value)
        assert "already written are safe" in str(caught.value)
        run = Run.load(folder)
        assert run.tail == b"" and run.status is Status.UNFINISHED
        assert run.ok_trials() == tuple(map(trial, range(len(run.trials))))


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE as on Linux")
def test_the_kernel_refusing_to_grow_the_file(tmp_path: Path) -> None:
    """The same with a real refused write, in a process that may not write large files."""
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_journal import Journal, PLAN, trial
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal.create(Path({str(tmp_path)!r}), "test", {{}})
journal.plan(PLAN)
journal.record(trial(0))
limit = (Path({str(tmp_path)!r}) / "journal.jsonl").stat().st_size + 300
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
with journal:
    journal.record(trial(1))
"""
    done = python(script)
    assert "JournalError" in done.stderr and "File too large" in done.stderr
    run = Run.load(tmp_path)
    assert run.ok_trials() == (trial(0),) and run.tail == b""


def test_kill_9_leaves_all_recorded_trials(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_journal import Journal, PLAN, trial
with Journal.create(Path({str(tmp_path)!r}), "test", {{}}) as journal:
    journal.plan(PLAN)
    journal.record(trial(0))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python(script).returncode == -9
    run = Run.load(tmp_path)
    assert run.status is Status.UNFINISHED
    assert [plan.label for plan in run.missing] == ["image 1", "image 2"]
    with Journal.resume(tmp_path) as journal:  # the dead process holds no lock
        assert len(journal.missing()) == 2


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Journal.create(tmp_path, "test", {}) as journal:
        script = (
            "import sys; from pathlib import Path; from hil.run.journal import Journal; "
            f"Journal.resume(Path({str(tmp_path)!r}))"
        )
        done = python(script)
        assert "another process writes this run" in done.stderr
        assert journal.read().status is Status.UNFINISHED
    with Journal.resume(tmp_path):
        pass


def test_nothing_after_the_stop_and_no_second_start(tmp_path: Path) -> None:
    with Journal.create(tmp_path, "test", {}) as journal:
        journal.stop(Status.SUCCESS)
        with pytest.raises(JournalError, match="a trial comes too late"):
            journal.record(trial(0))
    with pytest.raises(JournalError, match="a run is here already"):
        Journal.create(tmp_path, "test", {})


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="not a run folder"):
        Run.load(tmp_path)
    with pytest.raises(JournalError, match="no run to resume"):
        Journal.resume(tmp_path)
    (tmp_path / JOURNAL).touch()
    with pytest.raises(JournalError, match="the run never started"):
        Run.load(tmp_path)
    (tmp_path / JOURNAL).write_bytes(Line(0, "start", "t", {"schema": 9}).encode())
    with pytest.raises(JournalError, match="start document of schema 1 belongs here"):
        Run.load(tmp_path)


def test_a_run_that_was_killed_in_its_first_line_starts_anew(tmp_path: Path) -> None:
    """Nothing had been measured; what is there is kept aside all the same."""
    first = finished_run(tmp_path / "whole").read_bytes().split(b"\n")[0]
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / JOURNAL).write_bytes(first[:67])
    assert not has_started(folder) and has_started(tmp_path / "whole")
    finished_run(folder)
    run = Run.load(folder)
    assert run.status is Status.SUCCESS and len(run.trials) == 3
    assert (folder / "journal.cut-000000").read_bytes() == first[:67]


def test_values_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be written as JSON"):
        Journal.create(tmp_path, "test", {"nan": float("nan")})
    with Journal.create(tmp_path, "test", {}):  # the failed start left nothing behind
        pass


def test_attachments_are_kept_by_content(tmp_path: Path) -> None:
    with Journal.create(tmp_path, "test", {}) as journal:
        one = journal.attach("a.npz", b"waveform", "application/x-npz")
        again = journal.attach("b.npz", b"waveform", "application/x-npz")
    assert one.sha256 == again.sha256 == hashlib.sha256(b"waveform").hexdigest()
    files = list((tmp_path / "attachments").iterdir())
    assert [file.name for file in files] == [f"{one.sha256}.npz"]
    run = Run.load(tmp_path)
    assert run.attachment(one) == b"waveform"
    files[0].write_bytes(b"waveforn")
    with pytest.raises(JournalError, match=r"attachment 'a\.npz' has changed"):
        run.attachment(one)
    files[0].unlink()
    with pytest.raises(JournalError, match="copy the whole run folder"):
        run.attachment(one)


def test_run_folders_are_numbered(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    first, second = new_run_folder(root, "virtual"), new_run_folder(root, "bench7")
    assert [first.name, second.name] == ["0001-virtual", "0002-bench7"]
    finished_run(second)
    assert list_runs(root) == (second,)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("bench7", "bench7"),
        ("./nuc.toml", "nuc.toml"),
        ("../../etc/cron.d", "etc_cron.d"),
        ("Bob's bench, 2nd floor", "Bob_s_bench_2nd_floor"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("Prüfstand\n", "Prüfstand"),
    ],
)
def test_any_name_of_a_bench_names_one_folder(tmp_path: Path, name: str, word: str) -> None:
    assert folder_word(name) == word
    folder = new_run_folder(tmp_path, name)
    assert folder.parent == tmp_path and folder.name == f"0001-{word}"


def test_a_long_name_still_fits_a_file_system(tmp_path: Path) -> None:
    assert new_run_folder(tmp_path, "ä" * 1000).is_dir()
