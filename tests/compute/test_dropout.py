"""Dropout on toy tensors: closed forms, all masks by enumeration, and the experiment's tails."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from binomial import assert_binomial
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dlwidgets.compute.dropout import ACTIVATIONS, combine, draw, expected, simulate

HOMOGENEOUS = ("identity", "relu", "leaky_relu", "abs")
UNITS = torch.tensor([-3.0, -0.7, 0.0, 0.3, 1.0, 2.5], dtype=torch.float64)
chances = st.floats(0, 1)


def test_two_in_a_row_are_one() -> None:
    one = combine(0.1, 0.2)
    assert one.probability == pytest.approx(0.28, abs=1e-15)
    assert one.scale == pytest.approx(1.3889, abs=5e-5)
    assert one.scale == pytest.approx(1 / 0.72, rel=1e-15)


def test_none_and_certain_ones() -> None:
    assert (combine().probability, combine().scale) == (0.0, 1.0)
    assert (combine(0, 0.0).probability, combine(0, 0.0).scale) == (0.0, 1.0)
    assert (combine(0.3, 1).probability, combine(0.3, 1).scale) == (1.0, math.inf)


@given(st.lists(chances, max_size=5))
def test_combination_is_a_product_of_survival(p: list[float]) -> None:
    one = combine(*p)
    keep = math.prod(1 - Fraction(value) for value in p)
    assert one.probability == pytest.approx(float(1 - keep), rel=1e-15, abs=0)
    assert (one.probability == 1) == (keep == 0) == (1 in p)
    if keep > Fraction(1, 10**300):
        assert one.scale == pytest.approx(1 / float(keep), rel=1e-14)
    assert one == combine(*reversed(p))


@given(chances)
def test_one_alone_stays(p: float) -> None:
    assert combine(p).probability == p


def enumerated(x: torch.Tensor, p: tuple[float, ...], function, placement: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance by trying every mask of every dropout on the whole tensor."""
    outputs, weights = [], []
    for bits in itertools.product((0, 1), repeat=len(p) * x.numel()):
        masks = torch.tensor(bits, dtype=x.dtype).reshape(len(p), *x.shape)
        y, weight = (function(x) if placement == "after" else x), 1.0
        for mask, chance in zip(masks, p, strict=True):
            y = y * mask / (1 - chance)
            weight *= math.prod((1 - chance) if bit else chance for bit in mask.flatten().tolist())
        outputs.append(y if placement == "after" else function(y))
        weights.append(weight)
    stacked, weight = torch.stack(outputs), torch.tensor(weights, dtype=x.dtype)
    assert float(weight.sum()) == pytest.approx(1)
    mean = torch.tensordot(weight, stacked, 1)
    return mean, torch.tensordot(weight, (stacked - mean).square(), 1)


@pytest.mark.parametrize("placement", ["before", "after"])
@pytest.mark.parametrize("activation", ["identity", "relu", "leaky_relu", "gelu", "sigmoid", "tanh", "softplus", "elu"])
@pytest.mark.parametrize("p", [(0.3,), (0.1, 0.2)])
def test_exact_values_equal_all_masks(p, activation, placement) -> None:
    functions = {
        "identity": nn.Identity(),
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(0.01),
        "gelu": nn.GELU(),
        "sigmoid": nn.Sigmoid(),
        "tanh": nn.Tanh(),
        "softplus": nn.Softplus(),
        "elu": nn.ELU(),
    }
    x = torch.tensor([-1.5, 0.4, 2.0], dtype=torch.float64)
    mean, variance = enumerated(x, p, functions[activation], placement)
    exact = expected(x, p, activation, placement)
    torch.testing.assert_close(exact.mean, mean, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(exact.variance, variance, rtol=1e-12, atol=1e-14)


@given(st.floats(0, 0.99), st.floats(-50, 50).filter(lambda value: value == 0 or abs(value) > 1e-100))
def test_scaling_keeps_the_mean_and_adds_variance(p: float, value: float) -> None:
    x = torch.tensor([value], dtype=torch.float64)
    exact = expected(x, p, "identity")
    assert float(exact.mean) == pytest.approx(value, rel=1e-13, abs=0)
    assert float(exact.variance) == pytest.approx(value**2 * p / (1 - p), rel=1e-12, abs=0)
    unscaled = expected(x, p, "identity", scaled=False)
    assert float(unscaled.mean) == pytest.approx((1 - p) * value, rel=1e-13, abs=0)
    assert float(unscaled.variance) == pytest.approx(value**2 * p * (1 - p), rel=1e-12, abs=0)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 2**40))
@settings(max_examples=50)
def test_same_mask_before_and_after_a_homogeneous_activation(values, p, seed) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    for activation in HOMOGENEOUS:
        before = draw(x, p, activation, "before", 5, seed)
        after = draw(x, p, activation, "after", 5, seed)
        assert torch.equal(before.masks, after.masks)
        if activation == "relu":
            assert torch.equal(before.values, after.values)
        two_ulp = 2 * (torch.nextafter(after.values.abs(), torch.tensor(math.inf)) - after.values.abs())
        assert bool(((before.values - after.values).abs() <= two_ulp).all())
    assert torch.equal(simulate(x, p, "relu", "before", 20, seed).mean, simulate(x, p, "relu", "after", 20, seed).mean)


def test_a_dropped_unit_before_a_sigmoid_is_a_half() -> None:
    before = draw(UNITS, 0.5, "sigmoid", "before", 50)
    after = draw(UNITS, 0.5, "sigmoid", "after", 50)
    assert bool((before.values[~before.masks] == 0.5).all())
    assert bool((after.values[~after.masks] == 0.0).all())
    assert bool((~before.masks).any())
    torch.testing.assert_close(before.values[before.masks], torch.sigmoid(UNITS * 2).expand(50, -1)[before.masks])


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("placement", ["before", "after"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_never_and_always_are_exact(activation, placement, dtype) -> None:
    x = UNITS.to(dtype)
    f = ACTIVATIONS[activation]
    never = simulate(x, 0.0, activation, placement, 7)
    assert torch.equal(never.mean, f(x))
    always = simulate(x, (0.2, 1.0), activation, placement, 7)
    assert torch.equal(always.mean, torch.zeros_like(x) if placement == "after" else f(torch.zeros_like(x)))
    for result, rate in ((never, 1.0), (always, 0.0)):
        assert torch.equal(result.mean, result.mean_exact)
        for zero in (
            result.variance,
            result.variance_exact,
            result.mean_standard_error,
            result.variance_standard_error,
        ):
            assert torch.equal(zero, torch.zeros_like(x))
        assert bool((result.keep_rate == rate).all())
        assert bool((result.keep_rate_exact == rate).all())
        assert bool((result.keep_rate_standard_error == 0).all())


@given(st.lists(chances, min_size=1, max_size=3), st.integers(0, 2**32))
@settings(max_examples=40)
def test_survivors_are_counted_as_a_binomial(p, seed) -> None:
    n, keep = 500, math.prod(1 - value for value in p)
    result = simulate(UNITS, p, num_samples=n, seed=seed)
    assert_binomial((result.keep_rate * n).round(decimals=9), n, keep, comparisons=40 * len(UNITS))
    assert float(result.keep_rate_standard_error[0]) == pytest.approx(math.sqrt(keep * (1 - keep) / n), abs=1e-15)


@pytest.mark.parametrize(
    ("activation", "placement"), list(itertools.product(("gelu", "tanh", "relu"), ("before", "after")))
)
def test_experiment_follows_from_its_masks(activation, placement) -> None:
    """Two values a unit: mean and variance are functions of the number of survivors, in whatever chunks it ran."""
    n = 3000
    result = simulate(UNITS, (0.2, 0.25), activation, placement, n, seed=4)
    kept = (result.keep_rate * n).round()
    exact = expected(UNITS, (0.2, 0.25), activation, placement)
    mean = (kept * exact.kept + (n - kept) * exact.dropped) / n
    torch.testing.assert_close(result.mean, mean, rtol=1e-12, atol=1e-14)
    variance = (kept * (exact.kept - mean).square() + (n - kept) * (exact.dropped - mean).square()) / (n - 1)
    torch.testing.assert_close(result.variance, variance, rtol=1e-11, atol=1e-14)
    assert_binomial(kept, n, 0.6, comparisons=6 * len(UNITS))


def test_standard_errors_are_the_spread_of_repeated_experiments() -> None:
    """Enumerate how many of n = 12 samples survive; every statistic is a function of that number."""
    n, p, x = 12, 0.3, 1.7
    result = simulate(torch.tensor([x], dtype=torch.float64), p, "identity", num_samples=n)
    high = x / (1 - p)
    moments = {"keep_rate": [0.0, 0.0], "mean": [0.0, 0.0], "variance": [0.0, 0.0]}
    for k in range(n + 1):
        weight = math.comb(n, k) * (1 - p) ** k * p ** (n - k)
        mean = high * k / n
        values = {
            "keep_rate": k / n,
            "mean": mean,
            "variance": (k * (high - mean) ** 2 + (n - k) * mean**2) / (n - 1),
        }
        for name, value in values.items():
            moments[name][0] += weight * value
            moments[name][1] += weight * value**2
    for name, (first, second) in moments.items():
        assert float(getattr(result, f"{name}_exact")) == pytest.approx(first, rel=1e-12), name
        spread = math.sqrt(second - first**2)
        assert float(getattr(result, f"{name}_standard_error")) == pytest.approx(spread, rel=1e-10), name


def test_units_and_samples_are_independent() -> None:
    """Pairs of units, and pairs of samples one apart, survive together as often as independence says."""
    n, p = 4000, 0.4
    masks = draw(torch.ones(4), p, num_samples=n, seed=11).masks
    pairs = [masks[:, i] & masks[:, j] for i, j in itertools.combinations(range(4), 2)]
    lagged = [masks[0::2, i] & masks[1::2, i] for i in range(4)]
    assert_binomial(torch.stack([pair.sum() for pair in pairs]), n, 0.36, comparisons=10)
    assert_binomial(torch.stack([pair.sum() for pair in lagged]), n // 2, 0.36, comparisons=10)


def test_draws_agree_with_themselves() -> None:
    x = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    draws = draw(x, 0.25, "identity", num_samples=64, seed=3)
    torch.testing.assert_close(draws.values, draws.masks * x / 0.75)
    torch.testing.assert_close(draws.totals, draws.values.sum((1, 2)))
    torch.testing.assert_close(draws.running_mean[9], draws.values[:10].mean(0))
    torch.testing.assert_close(draws.running_standard_error[8], (x.square() * 0.25 / 0.75).sqrt() / 3)
    assert torch.equal(draw(x, 0.25, "identity", num_samples=64, seed=3, scaled=False).masks, draws.masks)


def test_a_higher_probability_drops_more_of_the_same() -> None:
    few, many = (draw(torch.ones(200), p, num_samples=3, seed=5).masks for p in (0.3, 0.6))
    assert not bool((many & ~few).any())


def test_shapes_and_kinds() -> None:
    for x in (torch.tensor(2.0), torch.zeros(0), torch.ones(2, 3, 4), torch.ones(3, dtype=torch.int64), [1.0, 2.0]):
        result = simulate(x, 0.5, num_samples=3)
        assert result.mean.shape == result.keep_rate_exact.shape == torch.as_tensor(x).shape
        assert result.mean.dtype == torch.float32
        assert not result.mean.requires_grad
    assert simulate(torch.ones(2, requires_grad=True), 0.5).mean.requires_grad is False
    assert bool(simulate(UNITS, 0.5, num_samples=1).variance.isnan().all())


def test_seeds_and_the_global_random_state() -> None:
    state = torch.get_rng_state()
    one, same, other = (simulate(UNITS, 0.5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.keep_rate, same.keep_rate)
    assert torch.equal(one.mean, same.mean)
    assert not torch.equal(one.keep_rate, other.keep_rate)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf, -math.inf])
def test_probabilities_out_of_range(p) -> None:
    with pytest.raises(ValueError, match=r"p\[1\] must lie from 0 to 1, got"):
        combine(0.5, p)
    with pytest.raises(ValueError, match="probabilities must lie from 0 to 1, got"):
        simulate(UNITS, p)
    with pytest.raises(ValueError, match=r"probabilities\[0\] must lie from 0 to 1, got"):
        simulate(UNITS, [p, 0.5])


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: combine("0.5"), TypeError, r"p\[0\] must be a number from 0 to 1, got '0.5' of type str"),
        (lambda: combine(True), TypeError, "of type bool"),
        (lambda: combine([0.1, 0.2]), TypeError, "of type list"),
        (lambda: simulate(UNITS, None), TypeError, "probabilities must be a number"),
        (lambda: combine(10**400), ValueError, r"p\[0\] must lie from 0 to 1, got a number beyond every float"),
        (lambda: simulate(UNITS, -(10**5000)), ValueError, "probabilities must lie from 0 to 1, got a number beyond"),
        (lambda: simulate("abc", 0.5), TypeError, "x must be a tensor of numbers, got str"),
        (lambda: simulate(torch.ones(2, dtype=torch.bool), 0.5), TypeError, "x must hold real numbers, got torch.bool"),
        (lambda: simulate(torch.tensor([1.0, math.nan]), 0.5), ValueError, "x must be finite, got 1 of 2 numbers"),
        (lambda: simulate(UNITS, 0.5, "softmax"), ValueError, "activation must be one of .*; got 'softmax'"),
        (lambda: simulate(UNITS, 0.5, torch.relu), TypeError, "activation must be a name such as 'relu', got"),
        (lambda: simulate(UNITS, 0.5, "relu", "inside"), ValueError, "placement must be 'before' or 'after'"),
        (lambda: simulate(UNITS, 0.5, "relu", None), TypeError, "placement must be 'before' or 'after'"),
        (lambda: simulate(UNITS, 0.5, num_samples=0), ValueError, "num_samples must be at least 1, got 0"),
        (lambda: simulate(UNITS, 0.5, num_samples=2.5), TypeError, "num_samples must be a whole number, got 2.5"),
        (lambda: simulate(UNITS, 0.5, seed="a"), TypeError, "seed must be a whole number, got 'a'"),
        (lambda: simulate(UNITS, 0.5, device="warp"), ValueError, "device 'warp' cannot be used here"),
    ],
)
def test_bad_input_gets_one_sentence(call, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        call()


@pytest.mark.parametrize("placement", ["before", "after"])
def test_scales_beyond_float32_leave_the_mean(placement) -> None:
    x = torch.tensor([-2.0, 0.0, 1.0, 3.0])  # ten times p = .9999: a survivor is scaled by 1e40
    for result in (expected(x, [0.9999] * 10, "relu", placement).mean, simulate(x, [0.9999] * 10, "relu", placement)):
        mean = result if isinstance(result, torch.Tensor) else result.mean_exact
        assert mean.dtype == torch.float32
        torch.testing.assert_close(mean, x.relu(), rtol=1e-6, atol=0)
    few = simulate(x, [0.9999] * 10, "relu", placement, num_samples=5)
    assert few.mean.eq(0).all()
    torch.testing.assert_close(few.mean_standard_error, x.relu() * math.sqrt(1e40 / 5), rtol=1e-5, atol=0)
