"""Test whether grey levels differ more across objects than within them: Welch's test, effect size, conclusion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats
from tabulate import tabulate

from ...data.errors import DatasetError
from .pixel_pairs import PixelPairs

_RESAMPLES = 2000


def compare_pairs(images: Sequence[PixelPairs], *, confidence: float = 0.95, seed: int = 0) -> dict:
    """Test whether grey levels differ more across objects than within them.

    Args:
        images: pairs of each image.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        * ``within`` and ``across``: ``{n, mean, std}`` of the absolute differences of grey levels.
        * ``t``, ``df`` (Welch and Satterthwaite) and ``p`` (one-sided: across > within; 0 below the smallest float).
        * ``cohen_d``: difference of means over the pooled standard deviation, with ``d_interval`` (large-sample, Hedges
          and Olkin 1985, as if pairs were independent) and ``d_interval_images`` (percentiles of a bootstrap over whole
          images, which does not assume independence).
        * ``by_image``: ``{n, t, df, p, share}``, a one-sided t-test on the n differences of an image's two means, and
          the share of images in which the difference is positive.
        * ``dropped``: pairs without a partner at their distance.

    Raises:
        DatasetError: there are fewer than two pairs, or all differences are equal.

    >>> nothing = np.zeros(3)
    >>> pairs = PixelPairs(np.array([0, 1, 2]), np.array([2, 4, 6]), nothing, nothing)
    >>> result = compare_pairs([pairs])
    >>> {key: round(result[key], 3) for key in ("t", "df", "p", "cohen_d")}
    {'t': 2.324, 'df': 2.941, 'p': 0.052, 'cohen_d': 1.897}
    """
    within = np.concatenate([i.within for i in images]) if images else np.zeros(0)
    across = np.concatenate([i.across for i in images]) if images else np.zeros(0)
    if min(len(within), len(across)) < 2:
        raise DatasetError(
            f"There are {len(within)} pairs within and {len(across)} across objects, but a test needs two of each."
        )
    (n1, m1, v1), (n2, m2, v2) = ((len(x), x.mean(), x.var(ddof=1)) for x in (across, within))
    if v1 + v2 == 0:
        raise DatasetError("All differences of both populations are equal, so there is nothing to test.")
    test = stats.ttest_ind(across, within, equal_var=False, alternative="greater")
    df = (v1 / n1 + v2 / n2) ** 2 / ((v1 / n1) ** 2 / (n1 - 1) + (v2 / n2) ** 2 / (n2 - 1))
    d = (m1 - m2) / math.sqrt(((n1 - 1) * v1 + (n2 - 1) * v2) / (n1 + n2 - 2))
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt((n1 + n2) / (n1 * n2) + d**2 / (2 * (n1 + n2)))
    return {
        "within": {"n": n2, "mean": float(m2), "std": math.sqrt(v2)},
        "across": {"n": n1, "mean": float(m1), "std": math.sqrt(v1)},
        "t": float(test.statistic),
        "df": float(df),
        "p": float(test.pvalue),
        "cohen_d": float(d),
        "confidence": confidence,
        "d_interval": [float(d - half), float(d + half)],
        "d_interval_images": _bootstrap_images(images, confidence, seed),
        "by_image": _by_image(images),
        "dropped": sum(i.dropped for i in images),
    }


def _bootstrap_images(images: Sequence[PixelPairs], confidence: float, seed: int) -> list[float]:
    """Return percentiles of Cohen's d over resampled images; NaN for a single image."""
    if len(images) < 2:
        return [math.nan, math.nan]
    # d needs sums only, so six numbers describe an image.
    sums = np.array([[f(x) for x in (i.across, i.within) for f in (len, np.sum, _squares)] for i in images], float)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), _RESAMPLES) @ sums  # (R, 6)
    n1, s1, q1, n2, s2, q2 = drawn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (q1 - s1**2 / n1 + q2 - s2**2 / n2) / (n1 + n2 - 2)
        d = (s1 / n1 - s2 / n2) / np.sqrt(pooled)
    d = d[np.isfinite(d)]
    tail = (1 - confidence) / 2
    return np.quantile(d, [tail, 1 - tail]).tolist() if len(d) else [math.nan, math.nan]


def _squares(values: np.ndarray) -> float:
    return float((values.astype(np.float64) ** 2).sum())


def _by_image(images: Sequence[PixelPairs]) -> dict:
    """Test the differences of the two means of each image against 0."""
    gaps = np.array([i.across.mean() - i.within.mean() for i in images if len(i.across) and len(i.within)])
    share = float((gaps > 0).mean())
    if len(gaps) < 2 or gaps.std() == 0:
        return {"n": len(gaps), "t": math.nan, "df": len(gaps) - 1, "p": math.nan, "share": share}
    test = stats.ttest_1samp(gaps, 0, alternative="greater")
    return {
        "n": len(gaps),
        "t": float(test.statistic),
        "df": len(gaps) - 1,
        "p": float(test.pvalue),
        "share": share,
    }


def format_comparison(results: dict[str, dict]) -> str:
    """Format a Markdown table, one row per version (matched or not)."""
    rows = [
        [
            name,
            *(f"{r[k]['mean']:.2f} ± {r[k]['std']:.2f}" for k in ("within", "across")),
            r["within"]["n"],
            f"{r['t']:.2f}",
            f"{r['df']:.1f}",
            _p(r["p"]),
            f"{r['cohen_d']:.3f}",
            _interval(r["d_interval"]),
            _interval(r["d_interval_images"]),
        ]
        for name, r in results.items()
    ]
    headers = [
        "distances",
        "within",
        "across",
        "pairs each",
        "t",
        "df",
        "p (one-sided)",
        "Cohen's d",
        "interval",
        "interval, images",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def explain(results: dict[str, dict]) -> str:
    """Say what the tests show, and what they do not.

    Args:
        results: results of :func:`compare_pairs` by version, ``"matched"`` and ``"unmatched"``.
    """
    matched, unmatched = results["matched"], results["unmatched"]
    low, high = matched["d_interval_images"]
    lost = matched["dropped"] / (matched["dropped"] + matched["within"]["n"])
    if low > 0:
        shown = "grey levels of two pixels differ more across objects than within one"
    elif high < 0:
        shown = "grey levels of two pixels differ less across objects than within one"
    else:
        shown = "no difference between pairs across objects and within one is established"
    percent = f"{100 * matched['confidence']:g} %"
    images = matched["by_image"]
    return (
        f"At the same distances, {shown}: by {matched['across']['mean'] - matched['within']['mean']:.1f} of 255 grey "
        f"levels on average, d = {matched['cohen_d']:.2f} ({percent} interval over images {low:.2f} to {high:.2f}). "
        f"The mean is larger across objects in {100 * images['share']:.0f} % of {images['n']} images. Without "
        f"matching, d = {unmatched['cohen_d']:.2f}; the difference is due to distance, and to the "
        f"{100 * lost:.0f} % of pairs that have no partner at their distance.\n"
        "What this does not show: pairs of one image are not independent, so t and p of Welch's test overstate the "
        "evidence (with enough pairs any difference becomes significant; read the effect size and the interval over "
        "images). A difference of means says neither that every object is smooth nor that grey levels suffice to "
        "find its border: the two distributions overlap. It holds for this annotation, mostly for its large objects, "
        "and for these images."
    )


def _p(value: float) -> str:
    return "< 1e-300" if value < 1e-300 else f"{value:.3g}"


def _interval(bounds: Sequence[float]) -> str:
    return "–" if any(map(math.isnan, bounds)) else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
