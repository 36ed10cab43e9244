"""Numbers as texts, against hand-worked cases."""

import pytest

from hil.core.cost import Interval
from reports import text


@pytest.mark.parametrize(
    ("value", "significant", "shown"),
    [
        (0, 3, "0"),
        (0.012345, 3, "0.0123"),
        (12.345, 3, "12.3"),
        (999.96, 3, "1,000"),
        (1234567, 3, "1,230,000"),
        (-4.5678, 2, "-4.6"),
        (float("nan"), 3, "?"),
    ],
)
def test_digits_keep_what_means_something(value, significant, shown):
    assert text.digits(value, significant) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0123, "12.3 ms"),
        (1.0, "1.00 s"),
        (0.9999, "1.00 s"),  # rounds into the next prefix, not "1,000 ms"
        (4.2e-7, "420 ns"),
        (0.0, "0 s"),
        (7200.0, "7.20 ks"),
    ],
)
def test_seconds_have_a_prefix_and_stay_on_one_line(value, shown):
    assert text.seconds(value) == shown.replace(" ", text.NBSP)


def test_energy_starts_from_microjoules():
    assert text.energy(1160.0) == f"1.16{text.NBSP}mJ"


def test_spread_is_the_wider_half_in_percent():
    assert text.spread(Interval(100.0, 99.0, 104.0, 9, 0.96)) == "± 4.0 %".replace(" ", text.NBSP)


def test_spread_of_one_sample_is_not_called_zero():
    assert text.spread(Interval(5.0, 5.0, 5.0, 1, 0.0)) == "n = 1".replace(" ", text.NBSP)
    assert text.spread(Interval(5.0, 5.0, 5.0, 7, 0.98)) == f"±{text.NBSP}0"


def test_hint_tells_bounds_samples_and_the_confidence_reached():
    hint = text.origin_of(Interval(100.0, 99.0, 104.0, 7, 0.984375))
    assert hint == "99.0000 to 104.000, n = 7, 98.4 % confidence"
    assert text.origin_of(Interval.exact(3.0)) == ""


def test_a_rounded_zero_has_no_sign():
    assert text.signed(-0.001, "0.00") == "0.00"
    assert text.signed(-0.61, "0.61") == "\u22120.61"
    assert text.signed(2.0, "2.00") == "+2.00"


def test_moments_lose_their_fractions_and_nothing_else():
    assert text.moment("2026-11-23T22:03:57.448510+00:00") == "2026-11-23 22:03:57 UTC"
    assert text.moment("2026-11-23T22:03:57Z") == "2026-11-23 22:03:57 UTC"
    assert text.moment("2026-11-23T22:03:57+02:00") == "2026-11-23 22:03:57+0200"
    assert text.moment("yesterday") == "yesterday"


@pytest.mark.parametrize(
    ("items", "shown"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_lists_read_as_sentences(items, shown):
    assert text.listed(items) == shown
