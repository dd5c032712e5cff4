"""The merge of two panoptic maps: a case worked out by hand, and validity for any maps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.modeling.merging import PRIORITIES, merge_panoptic

ROAD, SKY, PERSON, CAR = range(4)
OUT = (PERSON, CAR)


def segment(number: int, category: int, score: float = 0.9) -> dict:
    return {"id": number, "category_id": category, "isthing": category in OUT, "score": score}


# In map: road (1) below, sky (2) above, and a car (3) that is not asked for. Out map: a car (7) over both, a person (4)
# at the right edge, a road (5) that is not asked for.
IN = torch.tensor([[2, 2, 2, 2], [2, 2, 3, 0], [1, 1, 1, 1]])
IN_SEGMENTS = [segment(1, ROAD, 0.6), segment(2, SKY, 0.95), segment(3, CAR)]
OUT_MAP = torch.tensor([[5, 7, 7, 0], [5, 7, 7, 4], [5, 7, 0, 0]])
OUT_SEGMENTS = [segment(4, PERSON, 0.3), segment(5, ROAD), segment(7, CAR, 0.8)]


def classes(ids: torch.Tensor, segments: list[dict]) -> list[list[int]]:
    """-1 where no segment is."""
    of = {0: -1, **{s["id"]: s["category_id"] for s in segments}}
    return [[of[i] for i in row] for row in ids.tolist()]


@pytest.mark.parametrize(
    ("priority", "expected"),
    [
        ("out_first", [[SKY, CAR, CAR, SKY], [SKY, CAR, CAR, PERSON], [ROAD, CAR, ROAD, ROAD]]),
        # in first: of the car's five pixels one is left, less than half of it, so it leaves the map
        ("in_first", [[SKY, SKY, SKY, SKY], [SKY, SKY, -1, PERSON], [ROAD, ROAD, ROAD, ROAD]]),
        # score: sky (0.95) beats the car (0.8), which beats the road (0.6); two of five pixels are too few
        ("score", [[SKY, SKY, SKY, SKY], [SKY, SKY, -1, PERSON], [ROAD, ROAD, ROAD, ROAD]]),
    ],
)
def test_by_hand(priority, expected):
    ids, segments = merge_panoptic((IN, IN_SEGMENTS), (OUT_MAP, OUT_SEGMENTS), OUT, priority)
    assert classes(ids, segments) == expected
    assert ids.dtype == torch.int32


def test_score_gives_pixels_to_the_surer_segment():
    ids, segments = merge_panoptic((IN, IN_SEGMENTS), (OUT_MAP, OUT_SEGMENTS), OUT, "score", min_visible=0.4)
    assert classes(ids, segments)[2] == [ROAD, CAR, ROAD, ROAD]
    assert classes(ids, segments)[1] == [SKY, SKY, CAR, PERSON]


def test_equal_scores_give_pixels_to_the_out_segment():
    in_map = torch.tensor([[1, 1, 1]]), [segment(1, ROAD, 0.75)]
    for score, expected in ((0.75, CAR), (0.7499, ROAD), (0.7501, CAR)):
        out_map = torch.tensor([[0, 7, 0]]), [segment(7, CAR, score)]
        ids, segments = merge_panoptic(in_map, out_map, OUT, "score")
        assert classes(ids, segments) == [[ROAD, expected, ROAD]]


def test_unknown_priority():
    with pytest.raises(ValueError, match="PRIORITY='first': unknown priority.*out_first"):
        merge_panoptic((IN, IN_SEGMENTS), (OUT_MAP, OUT_SEGMENTS), OUT, "first")


@st.composite
def panoptic_maps(draw):
    """A valid (6, 7) map: any ids, stuff of one class at most once."""
    count = draw(st.integers(0, 5))
    numbers = draw(st.lists(st.integers(1, 40), min_size=count, max_size=count, unique=True))
    segments, stuff = [], set()
    for number in numbers:
        category = draw(st.integers(0, 3))
        if category in stuff:
            category = CAR
        if category not in OUT:
            stuff.add(category)
        segments.append(segment(number, category, draw(st.floats(0, 1))))
    cells = draw(st.lists(st.sampled_from([0, *numbers]), min_size=42, max_size=42))
    ids = torch.tensor(cells).view(6, 7)
    return ids, [s for s in segments if (ids == s["id"]).any()]


@settings(max_examples=150, deadline=None)
@given(panoptic_maps(), panoptic_maps(), st.sampled_from(PRIORITIES), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_the_merge_is_a_valid_panoptic_map(in_map, out_map, priority, least):
    before = in_map[0].clone(), out_map[0].clone()
    ids, segments = merge_panoptic(in_map, out_map, OUT, priority, least)
    assert torch.equal(in_map[0], before[0]) and torch.equal(out_map[0], before[1])
    assert {i for i in ids.unique().tolist() if i} == {s["id"] for s in segments} == set(range(1, len(segments) + 1))
    stuff = [s["category_id"] for s in segments if not s["isthing"]]
    assert len(stuff) == len(set(stuff))
    merged, ins, outs = (torch.tensor(classes(*m)) for m in ((ids, segments), in_map, out_map))
    for y in range(6):
        for x in range(7):
            claims = {int(ins[y, x])} - {PERSON, CAR} | {int(outs[y, x])} - {ROAD, SKY} | {-1}
            assert int(merged[y, x]) in claims
    if least == 0:  # nothing leaves the map, so every claim is answered, and one side keeps all of its pixels
        claimed_in, claimed_out = (ins >= 0) & (ins < PERSON), outs >= PERSON
        assert torch.equal(merged >= 0, claimed_in | claimed_out)
        first = {"out_first": (claimed_out, outs), "in_first": (claimed_in, ins)}.get(priority)
        if first:
            assert torch.equal(merged[first[0]], first[1][first[0]])
