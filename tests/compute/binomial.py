"""Bounds that a right experiment oversteps once in 1e9 test runs, and a wrong one at once."""

import math

import torch
from scipy.stats import binom
from torch import Tensor

CHANCE = 1e-9


def assert_binomial(counts: Tensor, num_trials: int, probability: float, comparisons: int | None = None) -> None:
    """Every count lies where a binomial variable does, both tails, over all ``comparisons`` of a test together."""
    values = counts.double().flatten()
    assert torch.equal(values, values.round()), f"not whole numbers: {values}"
    limit = CHANCE / (2 * (comparisons or len(values)))
    for count in values.tolist():
        lower, upper = binom.cdf(count, num_trials, probability), binom.sf(count - 1, num_trials, probability)
        assert min(lower, upper) > limit, f"{count} of {num_trials} at {probability}: {min(lower, upper):.1e}"


def bernstein(variance: Tensor, span: float, num_samples: int, comparisons: int) -> Tensor:
    """How far the mean of independent bounded variables may be from the expectation (Bernstein's inequality)."""
    log = math.log(2 * comparisons / CHANCE)
    return (2 * variance * log / num_samples).sqrt() + span * log / (3 * num_samples) + 1e-12
