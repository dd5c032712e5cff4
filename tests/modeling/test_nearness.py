"""Nearness of an image to a training set: numbers by hand, SciPy, and NumPy's covariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from zsseg_d2.modeling.nearness import EmbeddingStatistics, embedding_statistics, share_of_second


def statistics(mean, covariance) -> EmbeddingStatistics:
    found = EmbeddingStatistics(len(mean))
    found.load_state_dict({"mean": torch.tensor(mean), "covariance": torch.tensor(covariance)})
    return found


def test_one_dimension_by_hand():
    """N(0, 1) and N(3, 4) at x = 1: -1/2 - ln √(2π), and -1/2 - ln 2 - ln √(2π): odds of 2 to 1."""
    one, two = statistics([0.0], [[1.0]]), statistics([3.0], [[4.0]])
    x = torch.tensor([[1.0], [3.0]])
    first, second = one.log_likelihood(x), two.log_likelihood(x)
    root = math.log(math.sqrt(2 * math.pi))
    assert first.tolist() == pytest.approx([-0.5 - root, -4.5 - root])
    assert second.tolist() == pytest.approx([-0.5 - math.log(2) - root, -math.log(2) - root])
    shares = share_of_second(first, second)
    assert shares.tolist() == pytest.approx([1 / 3, 1 / (1 + 2 * math.exp(-4.5))])
    # At temperature 2 the odds are their square roots.
    assert share_of_second(first, second, 2.0)[0].item() == pytest.approx(1 / (1 + math.sqrt(2)))


def test_likelihoods_of_any_size_give_shares():
    far = torch.tensor([-1e6, 0.0, -1e6])
    assert share_of_second(far, torch.tensor([0.0, -1e6, -1e6])).tolist() == [1.0, 0.0, 0.5]


@given(st.integers(1, 6), st.integers(0, 2**16), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_likelihoods_are_those_of_scipy(width, seed, shrinkage):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(width, width + 3)).astype(np.float32)
    mean, covariance = rng.normal(size=width).astype(np.float32), root @ root.T / (width + 3)
    x = rng.normal(size=(4, width)).astype(np.float32)
    exact = covariance.astype(float)
    shrunk = (1 - shrinkage) * exact + shrinkage * np.trace(exact) / width * np.eye(width)
    expected = np.atleast_1d(multivariate_normal(mean, shrunk, allow_singular=True).logpdf(x))
    found = statistics(mean.tolist(), covariance.tolist()).log_likelihood(torch.from_numpy(x), shrinkage)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_flat_covariance_needs_shrinkage():
    flat = statistics([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="not positive definite"):
        flat.log_likelihood(torch.zeros(1, 2))
    # Half of the identity: [[1, 0.5], [0.5, 1]], of determinant 0.75.
    expected = -math.log(0.75) / 2 - math.log(2 * math.pi)
    assert flat.log_likelihood(torch.zeros(1, 2), 0.5).item() == pytest.approx(expected)


@given(st.integers(2, 20), st.integers(1, 4), st.floats(-1e4, 1e4), st.integers(0, 2**16))
def test_mean_and_covariance_are_those_of_numpy(count, width, offset, seed):
    values = np.random.default_rng(seed).normal(size=(count, width)) + offset
    mean, covariance, found = embedding_statistics(torch.from_numpy(v)[None] for v in values)
    assert found == count
    np.testing.assert_allclose(mean.numpy(), values.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(covariance.numpy(), np.cov(values.T, bias=True).reshape(width, width), atol=1e-7)


def test_one_image_has_no_covariance():
    with pytest.raises(ValueError, match="1 images have no covariance"):
        embedding_statistics([torch.zeros(1, 3)])
