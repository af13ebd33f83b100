"""How probable images are under the model: log p(x) by importance weighting, and the ELBO below it."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.latent_space.autoencoder import Coder, bind
from dlwidgets.compute.latent_space.inputs import as_count, as_images, as_number, generator, shape
from dlwidgets.compute.latent_space.posterior import posterior

Likelihood = Literal["bernoulli", "gaussian"]

_MAX_VALUES = 2**22  # values of decoded pictures held at a time


@dataclass(frozen=True, eq=False)
class Evidence:
    """Estimates for each image, in nats, float64; NaN where the image's posterior is not finite.

    From the same draws ``elbo <= log_likelihood`` for every image (Jensen), and both are on average lower bounds of
    log p(x): the second one tightens with more draws (Burda et al. 2016), and is as good as its draws are effective.
    """

    log_likelihood: Float[Tensor, "sample"]  # log of the average importance weight
    elbo: Float[Tensor, "sample"]  # the average log weight
    effective_draws: Float[Tensor, "sample"]  # (sum w)² / sum w², between 1 and num_draws; near 1: do not trust
    num_draws: int

    @property
    def standard_error(self) -> Float[Tensor, "sample"]:
        """Of log_likelihood, in nats, from the spread of the weights to first order."""
        return (1 / self.effective_draws - 1 / self.num_draws).clamp_min(0).sqrt()


def cross_entropy(pictures: Tensor, images: Tensor) -> Float[Tensor, "..."]:
    """-sum over the values of x ln p + (1 - x) ln(1 - p), in nats, float64.

    ``pictures`` p and ``images`` x (..., value), in [0, 1], are broadcast against each other. The logarithms are cut at
    -100. For grey values x this is a bound up to a constant and not a log density: it is smallest, but not 0, at p = x.
    """
    p, x = pictures.double(), images.double()
    return -(x * p.log().clamp_min(-100) + (1 - x) * torch.log1p(-p).clamp_min(-100)).sum(-1)


def log_likelihood(
    autoencoder: Any,
    images: Any,
    *,
    num_draws: int = 100,
    likelihood: Likelihood = "bernoulli",
    sd: float = 1.0,
    seed: int = 0,
    context: Context | None = None,
) -> Evidence:
    """Importance-weighted log p(x): log of the mean of p(x|z) p(z) / q(z|x) over draws z ~ q(z|x), with p(z) = N(0, I).

    "bernoulli": -log p(x|z) is the cross-entropy, exact for binary images and else a bound up to a constant.
    "gaussian": a normal density with the decoder's log-variance if it returns one, else with standard deviation ``sd``.
    ValueError for a deterministic encoder (it has no density to weight by), for decoded pictures of another size than
    the images, and for "bernoulli" with pictures outside [0, 1].
    """
    coder = bind(autoencoder)
    inputs = as_images(images, "images").cpu()
    num_draws = as_count(num_draws, "num_draws")
    sd = as_number(sd, "sd", positive=True)
    if likelihood not in ("bernoulli", "gaussian"):
        raise ValueError(f"likelihood: expected 'bernoulli' or 'gaussian', got {likelihood!r:.80}")
    if likelihood == "bernoulli" and not bool(((inputs >= 0) & (inputs <= 1)).all()):
        raise ValueError("images: expected values in [0, 1]; for others use likelihood='gaussian'")
    q = posterior(coder, inputs)
    if not q.stochastic:
        raise ValueError("log_likelihood needs an encoder that returns (mean, log_variance); this one is deterministic")
    targets = inputs.flatten(1).double()
    source = generator(seed)
    valid = q.valid
    log_weights = torch.full((len(inputs), num_draws), torch.nan, dtype=torch.float64, device="cpu")
    block = max(1, min(num_draws, _MAX_VALUES // targets.shape[1]))
    for i in range(len(inputs)):
        tick(context, i / len(inputs), "weighing draws")
        mean, log_variance = q.mean[i].double(), q.log_variance[i].double()
        noise = torch.randn(num_draws, len(mean), generator=source, dtype=torch.float64, device="cpu")
        if not valid[i]:
            continue
        codes = mean + torch.exp(0.5 * log_variance) * noise
        # log p(z) - log q(z|x): the constants of the two normal densities cancel
        log_ratio = 0.5 * (noise.square() - codes.square() + log_variance).sum(1)
        for start in range(0, num_draws, block):
            draws = slice(start, start + block)
            log_weights[i, draws] = log_ratio[draws] + _log_p(coder, codes[draws], targets[i], likelihood, sd)
    log_mean = torch.logsumexp(log_weights, 1) - math.log(num_draws)
    effective = torch.exp(2 * torch.logsumexp(log_weights, 1) - torch.logsumexp(2 * log_weights, 1))
    return Evidence(log_mean, log_weights.mean(1), effective, num_draws)


def _log_p(
    coder: Coder, codes: Tensor, target: Float[Tensor, "value"], likelihood: Likelihood, sd: float
) -> Float[Tensor, "draw"]:
    """log p(x|z) of one image for each code."""
    mean, log_variance = coder.decode(codes)
    pictures = mean.flatten(1).double()
    if pictures.shape[1] != len(target):
        raise ValueError(f"decode: expected pictures of {len(target)} values like the images, got {shape(mean)[1:]}")
    if likelihood == "bernoulli":
        if not bool(((pictures >= 0) & (pictures <= 1)).all()):
            raise ValueError("decode: expected pictures in [0, 1]; for others use likelihood='gaussian'")
        return -cross_entropy(pictures, target)
    spread = torch.full_like(pictures, 2 * math.log(sd)) if log_variance is None else log_variance.flatten(1).double()
    return -0.5 * (math.log(2 * math.pi) + spread + (target - pictures).square() * torch.exp(-spread)).sum(1)
