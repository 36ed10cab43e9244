"""A seeded campaign on the virtual board, and proof that it would find what must not be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hil.core.console import EMPTY_WINDOW, LAYER_CYCLES, RESPONSE, RUN_DONE, Message
from hil.core.errors import DataError
from hil.core.trial import Trial, Verdict
from hil.loop.faults import check
from hil.loop.faults.bench import WarmBench
from hil.loop.faults.campaign import RECORD, Job, recorded, run_faults, table, violations
from hil.loop.faults.kinds import KINDS, Extent, draw_plan
from hil.loop.faults.measuring import Ending
from hil.loop.faults.trial import Baseline, Outcome, Result, run_trial
from hil.rig import meter
from hil.rig.frames import encode
from hil.run.reader import Run

SEED = 1
EXTENT = Extent(to_host=1000, to_board=500, meter=30, chip_s=0.06, journal_bytes=9000)
NAMES = [draw_plan(SEED, number, EXTENT, 1.0).name for number in range(len(KINDS))]
# One fault a wire: the others are met by the slow campaign and by `hil faults`.
SHORT = (
    "to_host flip", "to_board drop", "port vanish", "chip reset", "chip brown_out",
    "meter disconnect", "meter milli_volt", "flasher corrupt", "disk full", "process killed",
    "process killed while writing",
)  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_nothing_that_must_not_happen_does(
    name: str, bench: WarmBench, base: Baseline, tmp_path: Path
) -> None:
    result = run_trial(bench, base, SEED, NAMES.index(name), tmp_path / "trial")
    assert result.name == name
    assert not result.violations, result.plan


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("board", ["stm32f746", "gap8"])
def test_a_longer_campaign(board: str, tmp_path: Path) -> None:
    numbers = tuple(range(2 * len(KINDS)))
    results = run_faults(Job(board, 2, numbers, tmp_path), lambda *_: None, jobs=2)
    assert len(results) == len(numbers)
    assert not [(r.number, r.plan, r.violations) for r in violations(results)]
    # Faults that hit nothing would prove nothing.
    assert sum(r.outcome is not Outcome.UNHARMED for r in results) > len(numbers) / 2


class TestItWouldBeFound:
    """Each check fails when what it looks for is there."""

    def test_a_bench_that_believes_every_unit(
        self, bench: WarmBench, base: Baseline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(meter, "refuse_implausible", lambda waveform: None)
        number = NAMES.index("meter milli_volt")
        result = run_trial(bench, base, SEED, number, tmp_path / "trial")
        assert result.outcome is Outcome.VIOLATION
        assert any("uJ" in text for text in result.violations)
        assert (tmp_path / "trial").exists(), "kept to look at"

    @staticmethod
    def _wrong(undisturbed: Path, base: Baseline, index: int, change) -> list[str]:
        """What the check says of the undisturbed run with one trial changed, all of it sent."""
        run = Run.load(undisturbed)
        trials = list(run.trials)
        trials[index] = change(trials[index])
        changed = replace(run, trials=tuple(trials))
        sent = _sent_of(run.trials)
        assert not list(check.wrong_costs(run, base.reference, sent))
        return list(check.wrong_costs(changed, base.reference, sent))

    def test_a_cycle_too_many(self, undisturbed: Path, base: Baseline) -> None:
        def change(trial: Trial) -> Trial:
            runs = [replace(trial.runs[0], cycles=trial.runs[0].cycles + 1), *trial.runs[1:]]
            return replace(trial, runs=tuple(runs))

        (found,) = self._wrong(undisturbed, base, 2, change)
        assert "the chip never sent" in found

    def test_an_empty_window_nobody_sent(self, undisturbed: Path, base: Baseline) -> None:
        def change(trial: Trial) -> Trial:
            first, *others = trial.empties
            return replace(trial, empties=(replace(first, fall=first.fall + 1000), *others))

        (found,) = self._wrong(undisturbed, base, 1, change)
        assert "the chip never sent" in found

    def test_an_energy_one_per_cent_off(self, undisturbed: Path, base: Baseline) -> None:
        def change(trial: Trial) -> Trial:
            first, *others = trial.windows
            return replace(
                trial, windows=(replace(first, energy_uj=1.01 * first.energy_uj), *others)
            )

        (found,) = self._wrong(undisturbed, base, -2, change)
        assert "undisturbed" in found and "uJ" in found

    def test_another_partitions_passes(self, undisturbed: Path, base: Baseline) -> None:
        """Cycles that were really sent, in the wrong trial."""
        others = Run.load(undisturbed).trials[4]
        found = self._wrong(undisturbed, base, 3, lambda t: replace(t, runs=others.runs))
        assert len(found) == 2 and all("far from the undisturbed" in text for text in found)

    def test_a_failure_put_down_to_somebody_else(self, undisturbed: Path, base: Baseline) -> None:
        run = Run.load(undisturbed)
        void = replace(run.trials[0], verdict=Verdict("void", "no answer", "instrument"))
        run = replace(run, trials=(void, *run.trials[1:]))
        of_chip = draw_plan(SEED, NAMES.index("chip reset"), EXTENT, 1.0)
        of_meter = draw_plan(SEED, NAMES.index("meter mute"), EXTENT, 1.0)
        (found,) = check.wrong_ending(Ending(), of_chip, run, 1.0)
        assert found == "put down to instrument, it was target: no answer"
        assert not list(check.wrong_ending(Ending(), of_meter, run, 1.0))

    def test_a_hang_and_a_traceback(self) -> None:
        plan = draw_plan(SEED, 0, EXTENT, 1.0)
        endings = (Ending(hung=True), Ending(crash="Traceback ..."))
        assert all(list(check.wrong_ending(ending, plan, None, 1.0)) for ending in endings)

    def test_lost_lines_and_second_measurements(self, undisturbed: Path) -> None:
        trials = Run.load(undisturbed).trials
        assert list(check.measured_twice([*trials, trials[0]]))
        assert not list(check.measured_twice(trials))
        assert list(check.lost_lines(b"one\ntwo\n", b"one\n"))
        assert not list(check.lost_lines(b"one\ntw", b"one\nother\n"))


def _sent_of(trials: tuple[Trial, ...]) -> bytes:
    """The frames in which a chip would have sent all of these."""
    out = b""
    for trial in trials:
        for run in trial.runs:
            rows = b"".join(LAYER_CYCLES.pack(x.total, x.compute, x.copy) for x in run.layers)
            out += encode(
                Message.RUN | RESPONSE, 1, RUN_DONE.pack(run.iterations, run.cycles) + rows
            )
        if trial.windows:
            words = b"".join(window.cycles.to_bytes(8, "little") for window in trial.windows)
            out += encode(Message.REPEAT_LAYERS | RESPONSE, 1, words)
        empties = [EMPTY_WINDOW.pack(x.rise, x.passed, x.fall, x.layer) for x in trial.empties]
        if empties:
            out += encode(Message.EMPTY_WINDOWS | RESPONSE, 1, b"".join(empties))
    return out


class TestPlans:
    def test_a_number_is_a_plan(self) -> None:
        assert draw_plan(3, 40, EXTENT, 1.0) == draw_plan(3, 40, EXTENT, 1.0)
        assert draw_plan(3, 40, EXTENT, 1.0) != draw_plan(4, 40, EXTENT, 1.0)

    def test_every_kind_has_its_turn(self) -> None:
        assert len(set(NAMES)) == len(KINDS)


class TestRecord:
    JOB = Job("stm32f746", 5, (0, 1), Path())

    def _job(self, folder: Path, text: str) -> Job:
        (folder / RECORD).write_text(text)
        return replace(self.JOB, folder=folder)

    def test_an_unfinished_line_is_measured_again(self, tmp_path: Path) -> None:
        head = '{"board": "stm32f746", "seed": 5}\n'
        one = Result(0, "chip reset", "", Outcome.RECOVERED, ("target",), (), 1.0)
        line = json.dumps(one.to_dict())
        job = self._job(tmp_path, f"{head}{line}\n{line[:30]}")
        assert recorded(job) == [one]
        assert (tmp_path / RECORD).read_text() == f"{head}{line}\n"

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ('{"board": "stm32f746", "seed": 6}\n', "this campaign is"),
            ('{"board": "stm32f746", "seed": 5}\n{"number": 1}\n', "damaged"),
        ],
    )
    def test_another_campaign_is_not_continued(self, tmp_path: Path, text: str, says: str) -> None:
        with pytest.raises(DataError, match=says):
            recorded(self._job(tmp_path, text))

    def test_the_table_counts_by_fault(self) -> None:
        results = [
            Result(0, "a", "", Outcome.FAILED, ("disk",), (), 1.0),
            Result(1, "a", "", Outcome.FAILED, ("disk",), (), 1.0),
            Result(2, "b", "", Outcome.UNHARMED, (), (), 1.0),
        ]
        (first, second) = table(results)
        assert first == ("a", {"failed": 2}, {"disk": 2}) and second == ("b", {"unharmed": 1}, {})
