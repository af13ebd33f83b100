"""Posteriors and evidence against numerical integration, brute force and models with a closed form."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlwidgets.compute.latent_space import (
    Posterior,
    active_units,
    aggregated_posterior,
    box_coverage,
    cross_entropy,
    log_likelihood,
    posterior,
    posterior_distance,
)

moderate = st.floats(-4, 4, allow_nan=False)
f64 = {"dtype": torch.float64}


def gaussians(num_samples, latent_dim, seed):
    source = torch.Generator().manual_seed(seed)
    mean = torch.randn(num_samples, latent_dim, generator=source, **f64)
    return Posterior(mean, torch.randn(num_samples, latent_dim, generator=source, **f64))


@given(mean=moderate, log_variance=moderate)
def test_kl_is_the_integral(mean, log_variance):
    sd = math.exp(log_variance / 2)
    z = torch.linspace(mean - 12 * sd, mean + 12 * sd, 4001, **f64)
    q = torch.distributions.Normal(torch.tensor(mean, **f64), torch.tensor(sd, **f64))
    p = torch.distributions.Normal(torch.tensor(0.0, **f64), torch.tensor(1.0, **f64))
    integral = torch.trapezoid(q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z)), z)
    kl = Posterior(torch.tensor([[mean]], **f64), torch.tensor([[log_variance]], **f64)).kl
    assert float(kl) == pytest.approx(float(integral), rel=1e-9, abs=1e-10)


@given(log_variance=st.floats(-1e-3, 1e-3))
def test_kl_keeps_its_digits_near_the_prior(log_variance):
    series = sum(log_variance**k / math.factorial(k) for k in range(2, 8)) / 2
    kl = float(Posterior(torch.zeros(1, 1, **f64), torch.tensor([[log_variance]], **f64)).kl)
    assert kl == pytest.approx(series, rel=1e-6, abs=1e-19)
    assert kl >= 0


def test_samples_have_the_moments_of_the_posterior():
    q = gaussians(3, 2, seed=0)
    draws = q.sample(40_000, seed=1)
    assert torch.allclose(draws.mean(0), q.mean, atol=5 * float(q.sd.max()) / 200)
    assert torch.allclose(draws.std(0), q.sd, rtol=0.03)
    assert torch.equal(q.sample(2, seed=1), q.sample(2, seed=1))
    assert not torch.equal(q.sample(2, seed=1), q.sample(2, seed=2))


@given(num_samples=st.integers(1, 20), latent_dim=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_aggregated_moments_are_those_of_the_mixture(num_samples, latent_dim, seed):
    q = gaussians(num_samples, latent_dim, seed)
    second = (
        sum(torch.outer(m, m) + torch.diag(v.exp()) for m, v in zip(q.mean, q.log_variance, strict=True)) / num_samples
    )
    mean = sum(q.mean) / num_samples
    moments = aggregated_posterior(q)
    assert torch.allclose(moments.mean, mean)
    assert torch.allclose(moments.covariance, second - torch.outer(mean, mean))
    assert moments.num_samples == num_samples


@pytest.mark.parametrize(("mean", "log_variance"), [(1e300, 0.0), (-1e200, 0.0), (0.0, 800.0), (math.inf, 0.0)])
def test_enormous_posteriors_are_left_out_and_counted(mean, log_variance):
    q = gaussians(4, 2, seed=0)
    means, log_variances = q.mean.clone(), q.log_variance.clone()
    means[1, 0], log_variances[1, 0] = mean, log_variance
    moments = aggregated_posterior(Posterior(means, log_variances))
    kept = aggregated_posterior(Posterior(q.mean[[0, 2, 3]], q.log_variance[[0, 2, 3]]))
    assert torch.equal(moments.mean, kept.mean)
    assert torch.equal(moments.covariance, kept.covariance)
    assert (moments.num_samples, moments.num_left_out) == (3, 1)
    assert (kept.num_samples, kept.num_left_out) == (3, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_valid_posteriors_have_finite_moments(dtype):
    mean = torch.tensor([[1e30, -1e30], [-1e30, 1e30]], dtype=torch.float64).to(dtype) * 0.999
    q = Posterior(mean, torch.full((2, 2), 2 * math.log(1e30) - 0.01, dtype=dtype))
    assert q.valid.all()
    moments = aggregated_posterior(q)
    assert torch.isfinite(moments.covariance).all()
    assert torch.isfinite(q.kl).all()


def test_invalid_posteriors_are_left_out():
    q = gaussians(4, 2, seed=0)
    mean, log_variance = q.mean.clone(), q.log_variance.clone()
    mean[1, 0], log_variance[2, 1] = torch.nan, 5000.0
    broken = Posterior(mean, log_variance)
    assert broken.valid.tolist() == [True, False, False, True]
    kept = Posterior(q.mean[[0, 3]], q.log_variance[[0, 3]])
    assert torch.equal(aggregated_posterior(broken).covariance, aggregated_posterior(kept).covariance)
    with pytest.raises(ValueError, match="none of the 2 posteriors is finite"):
        aggregated_posterior(Posterior(mean[1:3], log_variance[1:3]))


def test_active_units_are_those_whose_means_vary():
    mean = torch.tensor([[0.0, 5.0, -0.2], [0.19, 5.0, 0.2]])  # variances .009, 0, .04
    q = Posterior(mean, torch.zeros(2, 3))
    assert active_units(q).tolist() == [False, False, True]
    assert active_units(q, threshold=0.005).tolist() == [True, False, True]
    assert active_units(Posterior(mean[:1], torch.zeros(1, 3))).tolist() == [False, False, False]


def test_cross_entropy_is_smallest_where_picture_and_image_agree():
    x = torch.linspace(0, 1, 11, **f64)[:, None]
    p = torch.linspace(0.001, 0.999, 999, **f64)[:, None]
    best = p[torch.stack([cross_entropy(p, value) for value in x]).argmin(1), 0]
    assert torch.allclose(best, x[:, 0].clamp(0.001, 0.999))
    assert float(cross_entropy(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))) == 0
    assert float(cross_entropy(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))) == 200


class LinearGaussian:
    """x = W z + b + noise with orthogonal columns in W, so that the true posterior has independent dimensions.

    p(x) = N(b, W W' + sd² I); posterior precision diag(1 + |w_j|² / sd²), mean w_j'(x - b) / (sd² precision).
    """

    def __init__(self, num_values, latent_dim, sd, seed, widen=1.0):
        source = torch.Generator().manual_seed(seed)
        orthogonal = torch.linalg.qr(torch.randn(num_values, latent_dim, generator=source, **f64)).Q
        self.weight = orthogonal * (1 + torch.rand(latent_dim, generator=source, **f64))
        self.bias = torch.randn(num_values, generator=source, **f64)
        self.sd, self.widen = sd, widen

    def encode(self, x):
        precision = 1 + self.weight.square().sum(0) / self.sd**2
        mean = (x - self.bias) @ self.weight / (self.sd**2 * precision)
        return mean, (-precision.log() + 2 * math.log(self.widen)).expand_as(mean)

    def decode(self, z):
        return z @ self.weight.T + self.bias

    def log_p(self, x):
        covariance = self.weight @ self.weight.T + self.sd**2 * torch.eye(len(self.bias), **f64)
        return torch.distributions.MultivariateNormal(self.bias, covariance).log_prob(x)


@given(latent_dim=st.integers(1, 3), sd=st.floats(0.2, 2), seed=st.integers(0, 1000))
def test_with_the_true_posterior_one_draw_gives_log_p_exactly(latent_dim, sd, seed):
    model = LinearGaussian(4, latent_dim, sd, seed)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), **f64)
    for num_draws in (1, 7):
        evidence = log_likelihood(model, x, num_draws=num_draws, likelihood="gaussian", sd=sd)
        assert torch.allclose(evidence.log_likelihood, model.log_p(x), rtol=1e-9, atol=1e-9)
        assert torch.allclose(evidence.elbo, model.log_p(x), rtol=1e-9, atol=1e-9)
        assert torch.allclose(evidence.effective_draws, torch.full((5,), float(num_draws), **f64))
        assert evidence.standard_error.max() < 1e-6


def test_with_another_posterior_the_estimate_is_right_within_its_error_and_the_elbo_below():
    model = LinearGaussian(4, 2, sd=0.5, seed=1, widen=1.5)
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), **f64)
    evidence = log_likelihood(model, x, num_draws=20_000, likelihood="gaussian", sd=0.5)
    error = (evidence.log_likelihood - model.log_p(x)) / evidence.standard_error
    assert error.abs().max() < 4.5
    assert error.square().mean().sqrt() < 1.6
    assert evidence.standard_error.max() < 0.02
    # E[log w] = log p(x) - KL(q || true posterior); here the KL is that of a variance 2.25 times too large
    gap = 2 * 0.5 * (1.5**2 - 1 - math.log(1.5**2))
    assert torch.allclose(evidence.elbo, model.log_p(x) - gap, atol=0.1)
    assert (evidence.elbo < evidence.log_likelihood).all()


def test_a_decoder_with_its_own_variances():
    model = LinearGaussian(4, 2, sd=0.5, seed=1)
    pair = (model.encode, lambda z: (model.decode(z), torch.full((len(z), 4), 2 * math.log(0.5), **f64)))
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), **f64)
    evidence = log_likelihood(pair, x, num_draws=2, likelihood="gaussian", sd=123.0)
    assert torch.allclose(evidence.log_likelihood, model.log_p(x))


def test_bernoulli_against_quadrature_over_all_binary_images():
    weight = torch.tensor([[1.5, -0.5], [0.3, 2.0], [-1.0, 1.0]], **f64)
    bias = torch.tensor([0.2, -0.4, 0.0], **f64)
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), **f64)
    # p(x) by the trapezoid rule over z in [-9, 9]²
    axis = torch.linspace(-9, 9, 361, **f64)
    z = torch.cartesian_prod(axis, axis)
    prior = torch.exp(-0.5 * z.square().sum(1)) / (2 * math.pi) * (axis[1] - axis[0]) ** 2
    p = torch.sigmoid(z @ weight.T + bias)
    exact = torch.stack([(prior * torch.where(x == 1, p, 1 - p).prod(1)).sum() for x in images])
    assert float(exact.sum()) == pytest.approx(1, abs=1e-9)
    encoder = lambda x: ((x.flatten(1) - 0.5) @ weight * 0.4, torch.full((len(x), 2), -0.1, **f64))  # noqa: E731
    pair = (encoder, lambda z: (z @ weight.T + bias).sigmoid())
    evidence = log_likelihood(pair, images.view(8, 1, 3), num_draws=20_000, seed=3)
    assert ((evidence.log_likelihood - exact.log()) / evidence.standard_error).abs().max() < 4.5
    assert float(evidence.log_likelihood.exp().sum()) == pytest.approx(1, abs=0.02)
    assert (evidence.elbo <= evidence.log_likelihood).all()
    few = log_likelihood(pair, images, num_draws=10)
    assert float(few.log_likelihood.mean()) < float(exact.log().mean()) + 0.2
    assert torch.equal(few.log_likelihood, log_likelihood(pair, images, num_draws=10).log_likelihood)


def test_images_with_invalid_posteriors_have_no_evidence():
    pair = (lambda x: (torch.where(x > 0.5, torch.nan, x), torch.zeros_like(x)), torch.sigmoid)
    evidence = log_likelihood(pair, torch.tensor([[0.1], [0.9]]), num_draws=3)
    assert torch.isfinite(evidence.log_likelihood).tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"autoencoder": (nn.Identity(), torch.sigmoid)}, ValueError, "needs an encoder that returns.*deterministic"),
        ({"autoencoder": (lambda x: (x, x), lambda z: z + 5)}, ValueError, r"decode: expected pictures in \[0, 1\]"),
        ({"autoencoder": (lambda x: (x, x), lambda z: z[:, :1])}, ValueError, r"decode: expected pictures of 2 values"),
        ({"images": torch.full((1, 2), 3.0)}, ValueError, r"images: expected values in \[0, 1\]"),
        ({"images": torch.full((1, 2), torch.nan)}, ValueError, r"images: expected values in \[0, 1\]"),
        ({"images": "x"}, TypeError, "images: expected a tensor"),
        ({"num_draws": 0}, ValueError, "num_draws: expected an integer >= 1"),
        ({"likelihood": "poisson"}, ValueError, "likelihood: expected 'bernoulli' or 'gaussian', got 'poisson'"),
        ({"sd": 0.0}, ValueError, "sd: expected a finite number > 0, got 0"),
    ],
)
def test_bad_arguments_of_log_likelihood_are_named(change, error, message):
    arguments = {"autoencoder": (lambda x: (x, x), torch.sigmoid), "images": torch.zeros(1, 2), **change}
    with pytest.raises(error, match=message):
        log_likelihood(arguments.pop("autoencoder"), arguments.pop("images"), **arguments)


@pytest.mark.parametrize(
    "function", [aggregated_posterior, active_units, lambda q: posterior_distance([0.0], q), box_coverage]
)
def test_what_is_no_posterior_is_refused(function):
    with pytest.raises(TypeError, match=r"posterior: expected what posterior.* returns, got Tensor"):
        function(torch.zeros(3, 2))


def test_a_posterior_of_no_images_is_refused():
    with pytest.raises(ValueError, match=r"images: expected the shape \(sample, \*shape\).*got \(0, 3\)"):
        posterior((nn.Identity(), nn.Identity()), torch.zeros(0, 3))
