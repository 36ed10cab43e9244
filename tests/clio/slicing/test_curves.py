"""Curves of several runs: the same images, paired differences, no mixing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil.clio.slicing.curves import curves
from hil.clio.slicing.evaluate import Trained, load_training
from hil.core.errors import DataError

from .conftest import task


@pytest.fixture(scope="module")
def runs(trained_folder) -> dict[str, Trained]:
    learnt = load_training(trained_folder / "last.pt")
    untrained = replace(
        learnt, model=task().model.eval(), slicing={**learnt.slicing, "name": "paper"}
    )
    return {"learnt": learnt, "untrained": untrained}


def test_points_and_paired_differences(runs, train_set, test_set, artifact):
    found = curves(runs, "paper", train_set.take(30), test_set, lambda _: None)
    points = {(p.run, p.cut, p.channels): p for p in found.points}
    assert len(points) == 2 * 5
    for point in artifact.table.points:
        if point.bits == 8:
            mine = points["learnt", point.cut, point.channels]
            assert mine.accuracy == point.accuracy and mine.raw_bytes == point.raw_bytes
    for difference in found.differences:
        key = difference.cut, difference.channels
        gain = points["learnt", *key].accuracy.top1 - points["untrained", *key].accuracy.top1
        assert difference.points == pytest.approx(100 * gain)
        assert difference.low <= difference.points <= difference.high
    assert {(d.run, d.baseline) for d in found.differences} == {("learnt", "untrained")}
    document = found.to_dict()
    assert document["data_digest"] == test_set.digest and len(document["points"]) == 10


def test_the_interval_of_a_difference_by_hand():
    """Of 4 images the second run answers two more right and one fewer: mean 1/4."""
    from hil.clio.slicing.curves import _differences

    class Run:
        def __init__(self, name):
            self.slicing = {"name": name}

    right = {
        ("a", "c", 1): np.array([True, False, False, True]),
        ("b", "c", 1): np.array([True, True, True, False]),
    }
    (found,) = _differences({"a": Run("paper"), "b": Run("sandwich")}, "paper", right)
    deviation = (((0 - 0.25) ** 2 + 2 * 0.75**2 + 1.25**2) / 3) ** 0.5
    assert found.points == pytest.approx(25)
    assert found.high == pytest.approx(25 + 100 * 1.959964 * deviation / 2, rel=1e-5)


def test_runs_on_other_images_are_refused(runs, train_set, test_set):
    other = {**runs, "foreign": replace(runs["learnt"], train_digest="f" * 64)}
    with pytest.raises(DataError, match="foreign was trained on images ffffffffffff"):
        curves(other, "paper", train_set, test_set)
    with pytest.raises(DataError, match="no run of recipe 'best'"):
        curves(runs, "best", train_set, test_set)
