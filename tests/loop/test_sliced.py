"""Trained slices on the bench: candidates, tails, bytes, and the way to the cloud."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hil.clio.optimizer import Goal, Target
from hil.clio.radio import BLE
from hil.clio.slicing.artifact import save_artifact
from hil.cloud.client import TailClient
from hil.cloud.server import TailServer
from hil.cloud.wire import SLICE_HEADER_BYTES, slice_of
from hil.coding.slice_codec import Coding
from hil.core.errors import DataError, ProtocolError
from hil.core.trial import TrialKind
from hil.loop.decide import Decider
from hil.loop.encoding import Encoding
from hil.loop.recorded import (
    RecordedSlicing,
    recorded_accuracies,
    recorded_slicing,
    recorded_tails,
)
from hil.loop.report import cost_tables, report_data
from hil.loop.serving import range_codec, tail_service
from hil.loop.subject import Subject
from hil.nn.reference import quantise_input, run
from hil.nn.tail import cloud_tail, dequantise
from hil.run.reader import Run
from tests.loop.conftest import Tiny
from tests.loop.sliced import LOG, noise
from tests.loop.test_campaign import hil

TRAINED = [("block2", 1), ("block2", 3), ("block2", 8), ("block5", 2), ("block5", 5)]


@pytest.fixture(scope="module")
def finished(measured_sliced) -> Run:
    return Run.load(measured_sliced)


def decider(run_: Run, network, encoding: Encoding = Encoding()) -> Decider:  # noqa: B008
    (table,) = cost_tables(run_, network)
    return Decider.of(run_, table, network, encoding)


# Subject


def test_a_sliced_file_is_a_subject(sliced, tmp_path):
    file = tmp_path / "tiny.sliced.npz"
    save_artifact(sliced.artifact, file)
    images = noise(4, 5)
    np.savez(tmp_path / "images.npz", x=images.x, y=images.y)
    loaded = Subject.load(str(file), tmp_path / "images.npz")
    assert loaded.network.digest == sliced.network.digest
    assert list(loaded.slices) == [("input", 3), *TRAINED]
    x = torch.randn(2, 3, 16, 16)
    for cut, channels in loaded.slices[1:]:
        height, width, _ = loaded.network.tensors[loaded.network.cut(cut).layers].shape
        x = torch.randn(2, channels, height, width)
        assert torch.equal(loaded.tail(cut, channels)(x), sliced.tail(cut, channels)(x))
    with pytest.raises(DataError, match=r"\(32, 32, 3\), tiny takes \(16, 16, 3\)"):
        Subject.load(str(file))  # the shipped sample images are larger


def test_a_plain_networks_tails_see_zeros_for_what_is_not_sent(subject):
    """The tails that are timed are those that the accuracies were taken with."""
    torch.manual_seed(7)
    whole = cloud_tail(Tiny().eval(), "block1", 16)
    layers = subject.network.cut("block1").layers
    values = run(subject.network, quantise_input(subject.images.x[:3]), layers)[-1]
    for channels in (1, 5, 8):
        sent = dequantise(values[..., :channels], subject.network.tensors[layers])
        with torch.inference_mode():
            answer = subject.tail("block1", channels)(sent[:, :channels])
            torch.testing.assert_close(answer, whole(sent))


# What a run records


def test_the_start_document_has_all_that_a_report_needs(finished, sliced):
    assert recorded_slicing(finished) == RecordedSlicing.of(sliced.artifact)
    facts = finished.environment["slicing"]
    assert facts["recipe"]["name"] == "all-slices" and facts["train_digest"] == "ab" * 32
    assert facts["data_digest"] == sliced.artifact.table.data_digest
    assert {(p["cut"], p["channels"], p["bits"]) for p in facts["points"]} == {
        (cut, n, bits) for cut, n in TRAINED for bits in (8, 5)
    }


def test_every_slice_has_a_tail_of_its_own(finished, sliced):
    tails = finished.environment["tails"]
    assert [(t["cut"], t["channels"]) for t in tails] == [("input", 3), *TRAINED]
    for tail in tails:
        height, width, _ = sliced.network.tensors[sliced.network.cut(tail["cut"]).layers].shape
        assert tuple(tail["cost"]["shape"]) == (1, tail["channels"], height, width)
        assert len(tail["cost"]["samples_s"]) == 3
    assert set(recorded_tails(finished)) == {("input", 3), *TRAINED}


def test_a_run_from_before_tails_had_slices_says_measure_again(finished):
    old = {**finished.environment, "tails": {"block2": {"latency_s": {}}}}
    with pytest.raises(DataError, match=r"one tail latency a cut.*measure again"):
        recorded_tails(replace(finished, environment=old))
    with pytest.raises(DataError, match="damaged tails"):
        recorded_tails(replace(finished, environment={**old, "tails": [{"cut": "block2"}]}))


def test_partitions_keep_what_the_board_would_send(finished, sliced):
    inputs = quantise_input(sliced.images.x)
    timed = [t for t in finished.ok_trials() if t.kind is TrialKind.NETWORK]
    assert {t.workload.layers for t in timed} == {c.layers for c in sliced.network.cuts} - {0}
    for trial in timed:
        expected = run(sliced.network, inputs[trial.workload.image], trial.workload.layers)[-1]
        assert finished.attachment(trial.attachments[-1]) == expected.tobytes()


# Decisions


def test_only_trained_cuts_are_candidates(finished, sliced):
    candidates = decider(finished, sliced.network).candidates
    assert [c.key for c in candidates] == [("input", 3), *TRAINED, ("all", 3)]
    (table,) = cost_tables(finished, sliced.network)
    assert len(table.rows) == len(sliced.network.layers)  # every layer is measured all the same


def test_raw_bytes_are_what_the_firmware_sends(finished, sliced):
    shapes = {c.name: sliced.network.tensors[c.layers].shape for c in sliced.network.cuts}
    for one in decider(finished, sliced.network).candidates[:-1]:
        height, width, _ = shapes[one.cut]
        assert one.wire_bytes == height * width * one.channels + SLICE_HEADER_BYTES


@pytest.mark.parametrize(
    ("encoding", "size"),
    [
        (Encoding(Coding.PACKED, 5), lambda p: p.packed_bytes),
        (Encoding(Coding.RANGE, 5), lambda p: round(p.range_bytes)),
        (Encoding(Coding.RANGE, 8), lambda p: round(p.range_bytes)),
    ],
    ids=["packed-5", "range-5", "range-8"],
)
def test_other_codings_have_their_own_bytes_and_accuracies(finished, sliced, encoding, size):
    raw, made = decider(finished, sliced.network), decider(finished, sliced.network, encoding)
    assert [c.key for c in made.candidates] == [c.key for c in raw.candidates]
    points = {
        (p.cut, p.channels): p for p in sliced.artifact.table.points if p.bits == encoding.bits
    }
    for one, before in zip(made.candidates, raw.candidates, strict=True):
        if one.key in points:
            assert one.wire_bytes == size(points[one.key]) + SLICE_HEADER_BYTES
            assert made.measured.accuracy[one.key].median == points[one.key].accuracy.top1
        else:
            assert one == before  # the raw image, and all on the device


def test_codings_that_nobody_evaluated_are_refused(finished, sliced, measured, subject):
    with pytest.raises(DataError, match="evaluated with 7 bits a value; choose 8, 5"):
        decider(finished, sliced.network, Encoding(Coding.PACKED, 7))
    with pytest.raises(DataError, match="not trained for slices"):
        decider(Run.load(measured), subject.network, Encoding(Coding.PACKED, 5))
    with pytest.raises(DataError, match="8 bits a value, not 6"):
        Encoding(Coding.RAW, 6)
    with pytest.raises(DataError, match="no coding 'zip'; choose raw, packed, range"):
        Encoding.named("zip", 8)


def test_the_best_accuracy_within_a_limit_is_that_of_the_table(finished, sliced):
    made = decider(finished, sliced.network)
    priced = [o for o in made.price_all(BLE) if o.latency_s.median <= 0.1]
    best = max(o.accuracy.median for o in priced)
    decision = made.decide(BLE, made.goal(Target.ACCURACY, max_latency_s=0.1))
    assert decision.require().accuracy.median == best
    assert decision.goal == Goal(Target.ACCURACY, max_latency_s=0.1)


def test_optimize_says_what_it_prices(measured_sliced, monkeypatch, capsys):
    base = ("optimize", str(measured_sliced))
    limited = (*base, "--target", "accuracy", "--max-latency-ms", "100")
    status, out, _ = hil(monkeypatch, capsys, *limited)
    assert status == 0 and "coder's time" not in out
    assert "best accuracy within 100 ms" in out and "raw, 8 bits a value" in " ".join(out.split())
    status, out, _ = hil(
        monkeypatch, capsys, *limited, "--coding", "range", "--bits", "5", "--every"
    )
    said = " ".join(out.split())
    assert status == 0 and said.count("range-coded, 5 bits a value") == 2
    assert said.count("the coder's time on the device is not measured") == 2
    for arguments, message in (
        (("--target", "accuracy"), "within a limit"),
        (("--target", "speed"), "latency, energy, accuracy"),
        (("--bits", "5"), "raw slices have 8 bits"),
    ):
        status, _, err = hil(monkeypatch, capsys, *base, *arguments)
        assert status == 1 and message in err


# To the cloud


@pytest.fixture(scope="module")
def outputs(finished, sliced) -> dict[str, np.ndarray]:
    """The board's own tensors of image 0 at the sliced cuts."""
    found = {}
    for trial in finished.ok_trials():
        for cut in ("block2", "block5"):
            layers = sliced.network.cut(cut).layers
            if trial.kind is TrialKind.NETWORK and trial.workload.layers == layers:
                tensor = sliced.network.tensors[layers]
                data = finished.attachment(trial.attachments[-1])
                found[cut] = np.frombuffer(data, tensor.dtype).reshape(tensor.shape)
    return found


def values_on_the_grid(values: np.ndarray, bits: int) -> np.ndarray:
    """Rounded to ``bits`` bits and back, written out again from docs/slice-coding.md."""
    step = 2 ** (8 - bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return np.clip(np.floor(values / step + 0.5), low, high) * step


@pytest.mark.parametrize("bits", [None, 8, 5], ids=["raw", "range-8", "range-5"])
def test_board_outputs_are_answered_over_the_wire(outputs, sliced, bits):
    answers = {}
    with (
        TailServer(tail_service(sliced, bits or 8), deadline_s=30.0) as server,
        TailClient(server.address, deadline_s=30.0) as client,
    ):
        for cut, channels in TRAINED:
            layers = sliced.network.cut(cut).layers
            codec = None if bits is None else range_codec(sliced.artifact, cut, bits)
            part = slice_of(sliced.network.digest, layers, outputs[cut], channels, codec)
            answers[cut, channels] = client.infer(part).logits
    for (cut, channels), logits in answers.items():
        scale = sliced.network.tensors[sliced.network.cut(cut).layers].scale
        values = values_on_the_grid(outputs[cut][..., :channels].astype(float), bits or 8)
        real = torch.from_numpy((values * scale).astype(np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            expected = sliced.artifact.tail(cut, channels)(real)[0].numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert len({tuple(np.round(one, 4)) for one in answers.values()}) == len(answers)


def test_statistics_that_are_not_there_are_named(sliced):
    with pytest.raises(DataError, match="'block2' with 4 bits a value; has block2 with 8"):
        range_codec(sliced.artifact, "block2", 4)


def test_an_untrained_slice_is_refused_by_the_cloud(outputs, sliced):
    layers = sliced.network.cut("block2").layers
    part = slice_of(sliced.network.digest, layers, outputs["block2"], 2)
    with (
        TailServer(tail_service(sliced)) as server,
        TailClient(server.address) as client,
        pytest.raises(ProtocolError, match=r"no tail for .* layers and 2 channels"),
    ):
        client.infer(part)


# Report


def test_the_report_has_the_slices_and_their_training(measured_sliced, sliced):
    made = report_data(measured_sliced)
    assert made.slicing is not None
    points = sliced.artifact.table.points
    assert [(r.cut, r.channels, r.bits) for r in made.slicing.slices] == [
        (p.cut, p.channels, p.bits) for p in points
    ]
    for row, point in zip(made.slicing.slices, points, strict=True):
        assert row.accuracy.median == point.accuracy.top1 and row.accuracy.n == 30
        assert row.range_bytes == point.range_bytes
    assert [(e.epoch, e.loss) for e in made.slicing.epochs] == [
        (r["epoch"], r["train_loss"]) for r in LOG
    ]
    last = {(a.cut, a.channels): a.top1 for a in made.slicing.epochs[-1].accuracies}
    assert last == {("block2", 1): 0.5, ("all", 0): 0.6}
    assert "all-slices" in made.slicing.facts["recipe"]
    assert any("every slice trained" in source.how for source in made.sources)


def test_a_plain_run_has_no_slices(measured, subject):
    assert report_data(measured).slicing is None
    found = recorded_accuracies(Run.load(measured))
    assert {cut for cut, _ in found} == {cut.name for cut in subject.network.cuts}
