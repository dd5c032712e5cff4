"""Regions without labels as targets: numbers by hand, a plain flood fill, and what cannot matter."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zsseg_d2.data.pseudo_labels.regions import RegionSettings, find_regions

ANY = RegionSettings(min_area=1, min_share=0.25)


def regions_of(rows, predicted=None, settings=ANY):
    unlabeled = np.array([[c != "." for c in row] for row in rows])
    predicted = np.zeros(unlabeled.shape, np.int32) if predicted is None else np.array(predicted)
    return find_regions(unlabeled, predicted, settings).tolist()


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert regions_of(["#..#", ".#.#", "...."]) == [[1, 0, 0, 2], [0, 1, 0, 2], [0, 0, 0, 0]]


def test_small_regions_are_left_out():
    assert regions_of(["##.#"], settings=RegionSettings(2, 0.25)) == [[1, 1, 0, 0]]


def test_one_predicted_segment_takes_all_of_its_region():
    assert regions_of(["####"], [[0, 5, 0, 0]]) == [[1, 1, 1, 1]]


def test_two_predicted_segments_divide_a_region_by_nearness():
    """Of eight pixels, 5 has two at the left and 9 two at the right; the four between go to the nearer one."""
    assert regions_of(["########"], [[5, 5, 0, 0, 0, 0, 9, 9]]) == [[1, 1, 1, 1, 2, 2, 2, 2]]


def test_a_segment_that_covers_too_little_has_no_part():
    """9 covers one of eight pixels, an eighth; at a share of an eighth it has a part."""
    predicted = [[5, 5, 5, 0, 0, 0, 0, 9]]
    assert regions_of(["########"], predicted) == [[1] * 8]
    assert regions_of(["########"], predicted, RegionSettings(1, 0.125)) == [[1, 1, 1, 1, 1, 2, 2, 2]]
    assert regions_of(["########"], predicted, RegionSettings(2, 0.125)) == [[1] * 8]


def test_pixels_of_a_segment_without_a_part_go_to_the_others():
    predicted = [[5, 5, 5, 7, 0, 9, 9, 9]]
    assert regions_of(["########"], predicted) == [[1, 1, 1, 1, 2, 2, 2, 2]]


def test_a_segment_in_two_regions_is_two_regions():
    assert regions_of(["##.##"], [[5, 5, 0, 5, 5]]) == [[1, 1, 0, 2, 2]]


def test_a_prediction_outside_the_region_does_not_matter():
    assert regions_of(["##.."], [[5, 0, 9, 9]]) == [[1, 1, 0, 0]]


def flood_fill(unlabeled: np.ndarray) -> list[set[tuple[int, int]]]:
    left, found = set(zip(*map(list, np.nonzero(unlabeled)))), []
    while left:
        stack, region = [left.pop()], set()
        while stack:
            y, x = stack.pop()
            region.add((y, x))
            for near in product((y - 1, y, y + 1), (x - 1, x, x + 1)):
                if near in left:
                    left.remove(near)
                    stack.append(near)
        found.append(region)
    return found


def plain_regions(unlabeled: np.ndarray, predicted: np.ndarray, settings: RegionSettings) -> set[frozenset]:
    """Pixels that are equally near to two segments belong to either, so that they are left out of the comparison."""
    result = set()
    for region in flood_fill(unlabeled):
        if len(region) < settings.min_area:
            continue
        areas: dict[int, int] = {}
        for place in region:
            if predicted[place]:
                areas[predicted[place]] = areas.get(predicted[place], 0) + 1
        large = {k for k, n in areas.items() if n >= settings.min_area and n >= settings.min_share * len(region)}
        if len(large) < 2:
            result.add(frozenset(region))
            continue
        parts: dict[int, set] = {k: set() for k in large}
        for y, x in region:
            nearest = {k: min((y - v) ** 2 + (x - u) ** 2 for v, u in region if predicted[v, u] == k) for k in large}
            first, second, *_ = sorted(nearest.values())
            if first < second:
                parts[min(nearest, key=nearest.__getitem__)].add((y, x))
        result |= {frozenset(part) for part in parts.values()}
    return result


@given(st.data())
def test_regions_are_those_of_a_plain_form(data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=7))
    unlabeled = data.draw(hnp.arrays(bool, shape))
    predicted = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 3)))
    settings = RegionSettings(data.draw(st.integers(1, 4)), data.draw(st.sampled_from([0.125, 0.25, 0.5])))
    found = find_regions(unlabeled, predicted, settings)
    numbers = sorted(set(found[found > 0].tolist()))
    assert numbers == list(range(1, len(numbers) + 1)) and not found[~unlabeled].any()
    expected = plain_regions(unlabeled, predicted, settings)
    assert len(numbers) == len(expected)
    for wanted in expected:
        assert len({int(found[place]) for place in wanted}) == 1
        assert wanted <= set(zip(*map(list, np.nonzero(found == found[next(iter(wanted))]))))
