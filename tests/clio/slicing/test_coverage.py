"""Bandwidth ranges against the paper's arithmetic, and covers against brute force."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.clio.slicing.coverage import CutRange, cover, cut_range
from hil.core.errors import DataError

GAP8_MAC_PER_S = 525e6  # Clio, section 4.2


@pytest.mark.parametrize(
    "macs,size_bytes,kbps",
    [(75.8e6, 56 * 56, 161), (102.3e6, 2 * 28 * 28, 119), (131.1e6, 4 * 14 * 14, 125)],
    ids=["layer 3", "layer 5", "layer 8"],
)
def test_the_papers_cuts(macs, size_bytes, kbps):
    """MobileNetV2 at 224x224 in 300 ms: layer's MACs at 525 MMAC/s, smallest slice in the rest."""
    found = cut_range("x", size_bytes, size_bytes, 0.3, macs / GAP8_MAC_PER_S)
    assert found.low_kbps == pytest.approx(kbps, abs=1)


def test_ranges_by_hand():
    # 40 ms are left: 1000 bytes need 200 kbit/s, 4000 bytes 800.
    assert cut_range("b", 1000, 4000, 0.1, 0.06) == CutRange("b", *map(pytest.approx, (200, 800)))
    assert cut_range("b", 1000, 4000, 0.1, 0.1) is None
    for bad in ((0, 10, 0.1, 0.0), (10, 5, 0.1, 0.0), (1, 2, 0.0, 0.0), (1, 2, 0.1, -1.0)):
        with pytest.raises(DataError, match="cut b"):
            cut_range("b", *bad)


def test_a_cover_by_hand():
    a, b, c, d = (
        CutRange(name, low, high)
        for name, low, high in (("a", 40, 200), ("b", 60, 300), ("c", 180, 900), ("d", 1000, 3000))
    )
    found = cover((a, b, c, d), 50, 2000)
    assert [r.cut for r in found.chosen] == ["a", "c", "d"]
    assert found.gaps == ((900, 1000),)
    assert cover((), 50, 60).gaps == ((50, 60),)
    assert cover((d,), 50, 60) == cover((), 50, 60)
    with pytest.raises(DataError, match="no bandwidth range"):
        cover((a,), 60, 50)


def covered(ranges, low: float, high: float) -> set[int]:
    return {n for n in range(low, high) if any(r.low_kbps <= n < r.high_kbps for r in ranges)}


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 15)), max_size=7),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_no_smaller_set_covers_as_much(pairs, low, length):
    ranges = [CutRange(str(i), a, a + b) for i, (a, b) in enumerate(pairs)]
    found = cover(ranges, low, low + length)
    reach = covered(ranges, low, low + length)
    assert covered(found.chosen, low, low + length) == reach
    gaps = {n for a, b in found.gaps for n in range(int(a), int(b))}
    assert gaps == set(range(low, low + length)) - reach
    for smaller in range(len(found.chosen)):
        assert all(
            covered(some, low, low + length) != reach for some in combinations(ranges, smaller)
        )
