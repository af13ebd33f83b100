"""Posteriors q(z|x) of images, their mixture over the data, and which latent dimensions carry anything."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dlwidgets.compute.context import Context
from dlwidgets.compute.latent_space.autoencoder import bind
from dlwidgets.compute.latent_space.inputs import as_count, as_images, as_number, generator

_LARGEST = 1e30  # fits in single precision, and sums of squares are finite in double


@dataclass(frozen=True, eq=False)
class Posterior:
    """Gaussian posteriors q(z|x) = N(mean, sd²) of images, one row each, independent between latent dimensions.

    A deterministic encoder has log-variance -inf and sd 0. Rows that the encoder gave as NaN, inf or enormous numbers
    are kept as they are; see `valid`.
    """

    mean: Float[Tensor, "sample latent"]
    log_variance: Float[Tensor, "sample latent"]

    @property
    def sd(self) -> Float[Tensor, "sample latent"]:
        """Standard deviations exp(log_variance / 2)."""
        return torch.exp(0.5 * self.log_variance)

    @property
    def stochastic(self) -> bool:
        """Whether the encoder gave variances at all."""
        return not bool((self.log_variance == -math.inf).all())

    @property
    def valid(self) -> Bool[Tensor, "sample"]:
        """Which rows have means and standard deviations that can be computed with: finite and not beyond 1e30."""
        return ((self.mean.abs() <= _LARGEST) & (self.sd <= _LARGEST)).all(1)

    @property
    def kl(self) -> Float[Tensor, "sample latent"]:
        """KL(q(z|x) || N(0, 1)) of every dimension in nats: (mean² + sd² - 1 - log sd²) / 2, float64.

        Inf for a deterministic encoder. The sum over the dimensions is the KL term of the image's ELBO.
        Kingma & Welling, Auto-Encoding Variational Bayes (2014), appendix B.
        """
        mean, log_variance = self.mean.double(), self.log_variance.double()
        return 0.5 * (mean.square() + (torch.expm1(log_variance) - log_variance))

    def sample(self, num_samples: int = 1, *, seed: int = 0) -> Float[Tensor, "draw sample latent"]:
        """Codes z drawn from the posteriors, what encoding the same images ``num_samples`` times would give."""
        size = (as_count(num_samples, "num_samples"), *self.mean.shape)
        noise = torch.randn(size, generator=generator(seed), dtype=torch.float64, device="cpu")
        return self.mean + self.sd * noise.to(self.mean.dtype)


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the aggregated posterior q(z), the average of q(z|x) over the images."""

    mean: Float[Tensor, "latent"]
    covariance: Float[Tensor, "latent latent"]
    covariance_of_means: Float[Tensor, "latent latent"]  # the part that the images' means explain
    num_samples: int  # images used
    num_left_out: int  # images whose posteriors are not valid


def posterior(autoencoder: Any, images: Any, *, context: Context | None = None) -> Posterior:
    """The posteriors of images (sample, *shape) under any `Autoencoder`.

    ValueError if ``encode`` raises (its own error chained) or returns something other than (batch, latent) or a pair
    of these; codes of NaN are not an error.
    """
    mean, log_variance = bind(autoencoder).encode(as_images(images, "images"), context)
    if log_variance is None:
        log_variance = torch.full_like(mean, -math.inf)
    return Posterior(mean, log_variance)


def as_posterior(value: Any) -> Posterior:
    """``value`` itself; TypeError if it is not a `Posterior`."""
    if not isinstance(value, Posterior):
        raise TypeError(f"posterior: expected what posterior(autoencoder, images) returns, got {type(value).__name__}")
    return value


def aggregated_posterior(posterior: Posterior) -> Moments:
    """Exact moments of the mixture q(z) of the valid posteriors, float64.

    By the law of total variance its covariance is that of the means plus the average of diag(sd²). Both covariances
    divide by the number of images, because the mixture over just these images is meant.
    """
    valid = as_posterior(posterior).valid
    num_samples = int(valid.sum())
    if num_samples == 0:
        raise ValueError(f"posterior: none of the {len(valid)} posteriors is finite")
    means = posterior.mean[valid].double()
    mean = means.mean(0)
    covariance_of_means = (means - mean).T @ (means - mean) / num_samples
    within = torch.exp(posterior.log_variance[valid].double()).mean(0)
    return Moments(
        mean, covariance_of_means + torch.diag(within), covariance_of_means, num_samples, len(valid) - num_samples
    )


def active_units(posterior: Posterior, threshold: float = 0.01) -> Bool[Tensor, "latent"]:
    """Which latent dimensions are used: those whose posterior mean varies over the images by more than ``threshold``.

    The variance over the valid images is compared, in squared latent units (Burda et al., Importance Weighted
    Autoencoders, 2016, section 5.1). A collapsed dimension has the same posterior for every image.
    """
    return aggregated_posterior(posterior).covariance_of_means.diagonal() > as_number(threshold, "threshold")
