"""Cells to clusters: every function against a slow form, all partitions, or a case worked out by hand."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsseg_d2.auto_vocabulary.alignment import align, reference_of, resize_labels, votes
from zsseg_d2.auto_vocabulary.cells import encoding_size, position_code, with_positions
from zsseg_d2.auto_vocabulary.clusters import ClusterSettings, find_clusters, numbered, vote
from zsseg_d2.auto_vocabulary.crf import gaussian, majority, mean_field
from zsseg_d2.auto_vocabulary.kmeans import kmeans

QUICK = ClusterSettings(counts=(2, 3, 5), restarts=2)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Sizes and positions


@pytest.mark.parametrize(
    ("shape", "square", "expected"),
    [
        ((384, 384), False, (384, 384)),
        ((1024, 2048), False, (384, 768)),
        ((2048, 1024), False, (768, 384)),
        ((1000, 1500), False, (384, 576)),
        ((1, 20_000), False, (384, 1536)),
        ((20_000, 1), False, (1536, 384)),
        ((1, 1), False, (384, 384)),
        ((7, 20_000), True, (384, 384)),
    ],
)
def test_encoding_size(shape, square, expected):
    assert encoding_size(*shape, 384, 16, square=square) == expected


def test_a_side_is_rounded_to_whole_patches_and_has_at_least_one():
    assert encoding_size(10, 10, 390, 16, square=True) == (384, 384)
    assert encoding_size(10, 10, 3, 16, square=True) == (16, 16)


def test_the_position_code_by_hand():
    code = position_code(3, 5, 8)
    for y, x in itertools.product(range(3), range(5)):
        row = [math.sin(y), math.sin(y / 100), math.cos(y), math.cos(y / 100)]
        column = [math.sin(x), math.sin(x / 100), math.cos(x), math.cos(x / 100)]
        np.testing.assert_allclose(code[y, x], row + column, atol=1e-6)
    assert position_code(2, 2).shape == (2, 2, 256)
    np.testing.assert_allclose(np.linalg.norm(position_code(9, 4), axis=-1), math.sqrt(128), rtol=1e-5)
    with pytest.raises(ValueError, match="does not divide"):
        position_code(2, 2, 6)


def test_the_weight_of_positions():
    cells = random(2, 3, 4)
    assert np.array_equal(with_positions(cells, 0.0, 8), cells.reshape(6, 4))
    found = with_positions(cells, 0.5, 8)
    np.testing.assert_allclose(found[:, :4], cells.reshape(6, 4))
    np.testing.assert_allclose(found[4, 4:], 0.5 * position_code(2, 3, 8)[1, 1])


# k-means


def cost(points, labels):
    return sum(((points[labels == k] - points[labels == k].mean(0)) ** 2).sum() for k in set(labels.tolist()))


@pytest.mark.parametrize("seed", range(6))
def test_kmeans_finds_the_best_of_all_partitions(seed):
    points = random(7, 2, seed=seed) + 3 * np.random.default_rng(seed).integers(0, 3, (7, 1))
    best = min(cost(points, np.array(labels)) for labels in itertools.product(range(3), repeat=7))
    assert cost(points, kmeans(points, 3, seed, restarts=50)) == pytest.approx(best)


def lloyd_is_done(points, labels):
    """Each point is nearest to the mean of its own cluster."""
    means = {k: points[labels == k].mean(0) for k in set(labels.tolist())}
    for point, label in zip(points, labels.tolist()):
        distances = {k: ((point - mean) ** 2).sum() for k, mean in means.items()}
        assert distances[label] <= min(distances.values()) + 1e-9


def test_the_result_is_a_fixed_point_of_lloyd():
    points = random(60, 3, seed=1)
    lloyd_is_done(points, kmeans(points, 5, 0, tolerance=0.0))


def test_a_seed_gives_the_same_clusters_and_a_shift_changes_nothing():
    points = random(80, 4)
    first = kmeans(points, 6, 3)
    np.random.seed(5)
    assert np.array_equal(kmeans(points, 6, 3), first)
    assert np.array_equal(kmeans(points.astype(np.float32) + 100, 6, 3), first)
    assert {tuple(kmeans(points, 6, seed, restarts=1)) for seed in range(5)} != {tuple(first)}


def test_more_clusters_than_cells_or_distinct_cells():
    assert sorted(kmeans(random(3, 2), 8, 0)) == [0, 1, 2]
    assert kmeans(np.ones((5, 2), np.float32) / 3, 4, 0).tolist() == [0] * 5
    two = np.array([[0.1, 0.2]] * 4 + [[0.3, 0.2]] * 3)
    labels = kmeans(two, 6, 0)
    assert len(set(labels[:4])) == len(set(labels[4:])) == 1 and len(set(labels)) == 2
    assert kmeans(random(1, 3), 8, 0).tolist() == [0]
    for wrong in ((np.zeros((0, 2)), 2), (random(3, 2), 0)):
        with pytest.raises(ValueError, match="cannot be clustered"):
            kmeans(*wrong, 0)


# Alignment and votes


def best_relabelling(labels, reference, count):
    """Try all one-to-one renumberings; the largest sum of IoUs."""
    own = sorted(set(labels.ravel().tolist()))
    scores = {}
    for targets in itertools.permutations(range(count), len(own)):
        total = 0.0
        for k, target in zip(own, targets):
            union = ((labels == k) | (reference == target)).sum()
            total += ((labels == k) & (reference == target)).sum() / union
        scores[targets] = total
    best = max(scores, key=scores.__getitem__)
    return np.vectorize(dict(zip(own, best)).get)(labels), scores[best]


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_alignment_has_the_largest_sum_of_ious(seed, count, fewer):
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, count, (4, 5))
    reference.ravel()[:count] = range(count)
    labels = rng.integers(0, min(fewer, count), (4, 5)) * 7
    found, (_, expected) = align(labels, reference, count), best_relabelling(labels, reference, count)
    total = 0.0
    for k in set(labels.ravel().tolist()):
        (target,) = set(found[labels == k].tolist())
        total += ((labels == k) & (reference == target)).sum() / ((labels == k) | (reference == target)).sum()
    assert total == pytest.approx(expected)


@given(st.permutations(range(5)), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_any_relabelling_is_undone(order, seed):
    reference = np.random.default_rng(seed).integers(0, 5, (6, 7))
    reference.ravel()[:5] = range(5)
    assert np.array_equal(align(np.array(order)[reference], reference, 5), reference)


def test_the_reference_has_most_clusters():
    two, three = np.array([[0, 1, 1]]), np.array([[0, 4, 9]])
    assert reference_of([two, three, three[:, ::-1]]) == 1
    assert reference_of([np.array([[0, 0, 7]]), two]) == 0


def test_votes_are_shares_of_clusterings():
    found = votes([np.array([[0, 1]]), np.array([[0, 2]]), np.array([[1, 2]])], 3)
    np.testing.assert_allclose(found, [[[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]])
    np.testing.assert_allclose(found.sum(-1), 1)


@pytest.mark.parametrize(
    ("small", "large"), [((24, 24), (32, 32)), ((3, 5), (7, 4)), ((4, 4), (4, 4)), ((9, 9), (4, 6))]
)
def test_labels_are_resized_by_the_centers_of_cells(small, large):
    """In exact fractions: the cell of the small grid in which the center of a cell of the large one lies."""
    labels = np.arange(small[0] * small[1]).reshape(small)
    found = resize_labels(labels, large)
    for y, x in itertools.product(*map(range, large)):
        row, column = (2 * y + 1) * small[0] // (2 * large[0]), (2 * x + 1) * small[1] // (2 * large[1])
        assert found[y, x] == labels[row, column]
    flipped = resize_labels(labels[::-1, ::-1], large)[::-1, ::-1]
    ties = [(2 * i + 1) * s % (2 * n) == 0 for s, n in zip(small, large) for i in range(n)]
    assert any(ties) or np.array_equal(flipped, found), "the grid is not shifted to a side"


# Mean field


def mean_field_by_loops(votes_, taps, iterations, weight, theta, floor):
    h, w, count = votes_.shape
    unary = [[[0.0] * count for _ in range(w)] for _ in range(h)]
    for y, x in itertools.product(range(h), range(w)):
        total = sum(votes_[y, x, n] + floor for n in range(count))
        for n in range(count):
            unary[y][x][n] = -math.log((votes_[y, x, n] + floor) / total)
    q = [[[math.exp(-unary[y][x][n]) for n in range(count)] for x in range(w)] for y in range(h)]
    for _ in range(iterations):
        new = [[[0.0] * count for _ in range(w)] for _ in range(h)]
        for y, x in itertools.product(range(h), range(w)):
            for n in range(count):
                message = 0.0
                for v, u in itertools.product(range(h), range(w)):
                    dy, dx = v - y, u - x
                    if (dy or dx) and abs(dy) <= taps // 2 and abs(dx) <= taps // 2:
                        message += math.exp(-(dy * dy + dx * dx) / (2 * theta * theta)) * q[v][u][n]
                new[y][x][n] = math.exp(-unary[y][x][n] + weight * message)
            total = sum(new[y][x])
            new[y][x] = [value / total for value in new[y][x]]
        q = new
    return np.array(q)


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 2), (1, 9, 2), (6, 2, 4)])
def test_the_mean_field_is_that_of_loops(shape):
    """Rows, columns and clusters have different lengths: with mixed-up axes nothing would fit."""
    votes_ = np.random.default_rng(0).dirichlet(np.ones(shape[-1]) / 2, shape[:2])
    for taps, iterations, weight, theta in ((11, 5, 6.0, 0.8), (3, 2, 1.5, 2.0)):
        found = mean_field(votes_, taps=taps, iterations=iterations, weight=weight, theta=theta)
        expected = mean_field_by_loops(votes_, taps, iterations, weight, theta, 1e-6)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-12)


def test_weight_0_changes_nothing():
    votes_ = votes([np.arange(12).reshape(3, 4) % 5, np.zeros((3, 4), int)], 5)
    np.testing.assert_allclose(mean_field(votes_, weight=0.0, floor=0.0), votes_, atol=1e-15)
    assert np.array_equal(mean_field(votes_, weight=0.0).argmax(-1), votes_.argmax(-1))


def test_the_kernel_has_a_cross():
    """Fault: a 2-D kernel whose whole cross is zero, as that of two 1-D kernels without their centers."""
    kernel = gaussian(11, 0.8)
    assert kernel.shape == (11, 11) and kernel[5, 5] == 0
    assert kernel[5, 4] == kernel[4, 5] == kernel[6, 5] == kernel[5, 6] == pytest.approx(math.exp(-1 / 1.28))
    assert kernel[4, 4] == pytest.approx(math.exp(-2 / 1.28))
    assert (np.delete(kernel.ravel(), 60) > 0).all()
    with pytest.raises(ValueError, match="odd"):
        gaussian(10, 0.8)


def test_noise_in_votes_is_removed():
    """Fault: axes mixed up, or probabilities where logits are expected; then noisy votes get worse, not better."""
    truth = np.repeat(np.repeat(np.arange(4).reshape(2, 2), 8, 0), 12, 1)
    rng = np.random.default_rng(0)
    noisy = [np.where(rng.random(truth.shape) < 0.3, rng.integers(0, 4, truth.shape), truth) for _ in range(3)]
    found = votes(noisy, 4)
    before, after = (found.argmax(-1) == truth).mean(), (mean_field(found).argmax(-1) == truth).mean()
    assert before < 0.95 and after > 0.98


# Majority


def majority_by_loops(labels, rounds):
    labels = labels.tolist()
    h, w = len(labels), len(labels[0])
    for _ in range(rounds):
        new = [[0] * w for _ in range(h)]
        for y, x in itertools.product(range(h), range(w)):
            near = [
                labels[min(max(y + dy, 0), h - 1)][min(max(x + dx, 0), w - 1)]
                for dy, dx in itertools.product((-1, 0, 1), repeat=2)
            ]
            new[y][x] = min(set(near), key=lambda n: (-near.count(n), n))
        if new == labels:
            break
        labels = new
    return labels


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000), st.integers(0, 8))
@settings(max_examples=80, deadline=None)
def test_the_majority_is_that_of_loops(h, w, seed, rounds):
    labels = np.random.default_rng(seed).integers(0, 4, (h, w)) * 3
    assert majority(labels, rounds).tolist() == majority_by_loops(labels, rounds)


# All together


def blocks(h=8, w=12, channels=6, seed=0):
    """Four blocks of cells around four centers, and their labels."""
    rng = np.random.default_rng(seed)
    truth = (np.arange(h)[:, None] * 2 // h) * 2 + np.arange(w)[None] * 2 // w
    return (rng.normal(size=(4, channels))[truth] * 6 + rng.normal(size=(h, w, channels))).astype(np.float32), truth


def same_partition(some, others):
    pairs = set(zip(some.ravel().tolist(), others.ravel().tolist()))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_blocks_are_found_at_two_scales():
    large, truth = blocks()
    small = large[::2, ::2]
    found = find_clusters([small, large], ClusterSettings(counts=(4, 5), position_weight=0.0))
    assert found.labels.shape == truth.shape and same_partition(found.labels, truth)
    assert found.shares == (0.25,) * 4
    assert all(0.5 < agreement <= 1 for agreement in found.agreement)


def test_clusters_are_numbered_by_size_and_measured():
    labels = np.array([[3, 3, 0], [3, 1, 0]])
    found = np.zeros((2, 3, 5))
    found[..., 4] = 0.5
    found[..., 3], found[..., 0], found[..., 1] = 0.25, 0.125, 0.0
    clusters = numbered(labels, found)
    assert clusters.labels.tolist() == [[0, 0, 1], [0, 2, 1]]
    assert clusters.shares == pytest.approx((3 / 6, 2 / 6, 1 / 6))
    assert clusters.agreement == (0.25, 0.125, 0.0)
    assert len(clusters) == 3


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 2, 4), (4, 6, 4)])
def test_nothing_is_nan_for_constant_images_and_few_cells(shape, weight):
    """Fault: NaN confidence of empty clusters."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find_clusters([np.full(shape, 0.3, np.float32)] * 2, ClusterSettings(position_weight=weight))
    assert np.isfinite(found.agreement).all() and np.isfinite(found.shares).all()
    assert sum(found.shares) == pytest.approx(1)
    assert sorted(np.unique(found.labels)) == list(range(len(found)))
    assert len(found) == 1 or weight


def test_votes_need_not_have_the_numbers_of_the_reference():
    """Clusterings whose numbers have gaps: empty clusters have no share and no NaN."""
    one, other = np.array([[7, 7, 2, 2]]), np.array([[1, 1, 5, 5]])
    found = vote([one, other, one], ClusterSettings(crf_weight=0.0, majority_rounds=0))
    assert same_partition(found.labels, one) and found.agreement == (1.0, 1.0)


def test_the_same_image_has_the_same_clusters_whatever_came_before():
    cells, _ = blocks(seed=3)
    first = find_clusters([cells], QUICK)
    find_clusters([blocks(6, 4, seed=9)[0]], QUICK)
    np.random.seed(1)
    again = find_clusters([cells], QUICK)
    assert np.array_equal(first.labels, again.labels) and first.agreement == again.agreement
