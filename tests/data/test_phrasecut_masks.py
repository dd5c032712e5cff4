"""Masks of polygons against the rule of PhraseCut's own tools, written out plainly."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.data import polygons_to_mask
from zsseg_d2.data.phrasecut.polygons import LIMIT, pack_polygons

from ..plain.data import polygon_mask

H, W = 24, 32
POINT = st.tuples(st.floats(-20, 60), st.floats(-20, 60)).map(list)
NESTED = st.lists(st.lists(st.lists(POINT, max_size=7), max_size=3), max_size=3)


def test_the_square_has_25_pixels():
    mask = polygons_to_mask([[[[2, 2], [6, 2], [6, 6], [2, 6]]]], 10, 12)
    assert mask.shape == (10, 12) and mask.dtype == bool and mask.sum() == 25 and mask[2:7, 2:7].all()


def test_coordinates_are_truncated_towards_zero():
    cut = polygons_to_mask([[[[2.99, 2.01], [6.999999999, 2.5], [6.5, 6.9], [2.2, 6.7]]]], 10, 12)
    np.testing.assert_array_equal(cut, polygons_to_mask([[[[2, 2], [6, 2], [6, 6], [2, 6]]]], 10, 12))
    assert polygons_to_mask([[[[-0.9, -0.5], [3.9, -0.1], [3, 1], [0, 1]]]], 10, 12)[0, :4].all()


def test_rectangles_include_their_borders():
    rng = np.random.default_rng(0)
    for _ in range(50):
        (x0, x1), (y0, y1) = np.sort(rng.integers(-5, W + 5, 2)), np.sort(rng.integers(-5, H + 5, 2))
        y, x = np.mgrid[:H, :W]
        expected = (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
        corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
        np.testing.assert_array_equal(polygons_to_mask([[corners]], H, W), expected)


def test_points_are_skipped_and_lines_are_drawn():
    assert not polygons_to_mask([[[[3, 3]], []]], H, W).any()
    assert polygons_to_mask([[[[3, 3], [7, 3]]]], H, W).sum() == 5
    assert not polygons_to_mask([], H, W).any()


@settings(max_examples=60, deadline=None)
@given(NESTED)
def test_any_polygons_give_the_official_mask(nested):
    packed = pack_polygons(nested)
    expected = polygon_mask(nested, H, W)
    np.testing.assert_array_equal(packed.mask(H, W), expected)
    assert packed.is_empty(H, W) == (not expected.any())
    assert packed.num_instances == len(nested)
    truncated = [[[[int(x), int(y)] for x, y in p] for p in instance] for instance in nested]
    assert [[p.tolist() for p in instance] for instance in packed.by_instance()] == truncated
    outside = sum(any(not (0 <= int(x) <= W and 0 <= int(y) <= H) for x, y in p) for i in nested for p in i)
    assert packed.outside(H, W) == outside
    assert pickle.loads(pickle.dumps(packed)) == packed


def test_even_odd_within_a_polygon_but_a_union_of_polygons():
    """Two overlapping squares stay whole, as two polygons and as two instances."""
    one, two = [[2, 2], [9, 2], [9, 9], [2, 9]], [[5, 5], [12, 5], [12, 12], [5, 12]]
    both = polygons_to_mask([[one, two]], H, W)
    assert both.sum() == 64 + 64 - 25
    np.testing.assert_array_equal(both, polygons_to_mask([[one], [two]], H, W))


def test_absurd_coordinates_are_drawn_in_no_time():
    packed = pack_polygons([[[[-1e12, -1e12], [1e12, -1e12], [1e12, 1e12], [-1e12, 1e12]]]])
    assert packed.mask(H, W).all() and packed.outside(H, W) == 1
    assert max(abs(int(v)) for p in packed for v in p.ravel()) == LIMIT


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_refused(number):
    with pytest.raises(ValueError, match="NaN or infinite"):
        pack_polygons([[[[1, 2], [3, number], [5, 6]]]])


@pytest.mark.parametrize(
    "nested",
    [
        None,
        7,
        "polygons",
        {"a": 1},
        [[1, 2], [3, 4]],
        [[[1, 2, 3, 4]]],
        [[[[1], [2]]]],
        [[[[1, 2, 3]]]],
        [[[[1, "x"]]]],
    ],
)
def test_other_nesting_is_refused(nested):
    with pytest.raises(ValueError, match="nested as"):
        pack_polygons(nested)
