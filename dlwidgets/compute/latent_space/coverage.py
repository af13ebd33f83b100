"""Where in the latent space the data lives, and what the prior finds there."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.latent_space.autoencoder import bind
from dlwidgets.compute.latent_space.decoding import latent_box
from dlwidgets.compute.latent_space.inputs import (
    as_box,
    as_codes,
    as_count,
    as_images,
    as_labels,
    as_number,
    generator,
    shape,
)
from dlwidgets.compute.latent_space.pictures import image_scale
from dlwidgets.compute.latent_space.posterior import Posterior, as_posterior

_MAX_PAIRS = 2**20  # pairs of points compared at a time
MAX_REFERENCES = 5000  # images that the classifier remembers


@dataclass(frozen=True, eq=False)
class Distance:
    """For every code how far the nearest posterior is."""

    value: Float[Tensor, "code"]  # in that posterior's standard deviations, float64; inf if every posterior has sd 0
    nearest: Int[Tensor, "code"]  # index of the image whose posterior that is


@dataclass(frozen=True, eq=False)
class Coverage:
    """The share of a latent box near the data, estimated from random points."""

    share: float
    standard_error: float  # sqrt(share (1 - share) / num_points)
    num_points: int


@dataclass(frozen=True, eq=False)
class ClassCoverage:
    """Which classes the decoded samples of the prior fall into."""

    classes: tuple[Any, ...]  # the distinct labels, sorted
    counts: Int[Tensor, "class"]
    num_samples: int  # drawn from N(0, I)
    num_failed: int  # of these, not decodable or decoded to NaN, in no class
    accuracy: float  # of the classifier on its own images, each left out in turn; nan for a single image
    num_left_out: int  # images with values that are not finite, unknown to the classifier

    @property
    def share(self) -> Float[Tensor, "class"]:
        """counts / num_samples, float64."""
        return self.counts.double() / self.num_samples

    def num_classes(self, min_share: float = 0.02) -> int:
        """How many classes hold at least this share of the samples."""
        return int((self.share >= as_number(min_share, "min_share")).sum())


def posterior_distance(codes: Any, posterior: Posterior, *, context: Context | None = None) -> Distance:
    """Distance of codes from the data in posterior standard deviations (Mahalanobis): min over the images of
    sqrt(sum over dimensions of ((z - mean) / sd)²). Exact, by comparing all pairs; invalid posteriors do not take part.
    """
    points = as_codes(codes, "codes").double()
    if points.shape[1] != as_posterior(posterior).mean.shape[1]:
        raise ValueError(f"codes: expected {posterior.mean.shape[1]} latent dimensions, got shape {shape(points)}")
    rows = posterior.valid.nonzero()[:, 0]
    if len(rows) == 0:
        raise ValueError(f"posterior: none of the {len(posterior.mean)} posteriors is finite")
    mean, sd = posterior.mean[rows].double(), posterior.sd[rows].double()
    value = torch.full((len(points),), math.inf, dtype=torch.float64, device="cpu")
    nearest = torch.zeros(len(points), dtype=torch.int64, device="cpu")
    step = max(1, _MAX_PAIRS // len(rows))
    for start in range(0, len(points), step):
        tick(context, start / len(points), "measuring distances")
        block = slice(start, start + step)
        squares = torch.zeros(len(points[block]), len(rows), dtype=torch.float64, device="cpu")
        for latent in range(points.shape[1]):  # one dimension at a time keeps the memory flat
            apart = points[block, latent, None] - mean[:, latent]
            squares += torch.where(apart == 0, 0.0, apart / sd[:, latent]).square_()
        smallest, index = squares.min(1)
        value[block], nearest[block] = smallest.sqrt(), rows[index]
    return Distance(value, nearest)


def box_coverage(
    posterior: Posterior,
    box: Any = None,
    *,
    within: float = 2.0,
    num_points: int = 4096,
    seed: int = 0,
    context: Context | None = None,
) -> Coverage:
    """The share of ``box`` that lies within ``within`` posterior standard deviations of some image's posterior mean.

    ``box`` None: the smallest box around the means (`latent_box` with no margin). An autoencoder without the KL term
    leaves it almost empty, because its posteriors shrink to points.
    """
    bounds = latent_box(posterior.mean[as_posterior(posterior).valid], 0.0) if box is None else as_box(box)
    low, high = torch.tensor(bounds, dtype=torch.float64, device="cpu").T
    within = as_number(within, "within", positive=True)
    size = (as_count(num_points, "num_points"), len(bounds))
    points = low + (high - low) * torch.rand(size, generator=generator(seed), dtype=torch.float64, device="cpu")
    share = float((posterior_distance(points, posterior, context=context).value <= within).double().mean())
    return Coverage(share, math.sqrt(share * (1 - share) / num_points), num_points)


def class_coverage(
    autoencoder: Any,
    images: Any,
    labels: Any,
    *,
    num_samples: int = 10_000,
    seed: int = 0,
    context: Context | None = None,
) -> ClassCoverage:
    """Decodes samples of the prior N(0, I) and counts the classes that they look like.

    The small classifier is the nearest image by Euclidean distance of grey values, at most 5,000 images chosen by
    ``seed``: any number of classes, nothing to train, the same every time; `ClassCoverage.accuracy` says how far to
    trust it. It names a class also for a picture that looks like nothing: a full histogram does not prove good samples.
    Images with NaN or inf are left out; images on another scale than decoded pictures in [0, 1], such as bytes, are
    divided first (`image_scale`). ValueError if no image is finite.

    Measured with `train_vae` on scikit-learn's digits, 10,000 samples: at beta 1 all ten classes hold 2 % or more, at
    beta 0 six to eight of them, depending on the seed; a logistic regression and a small network in the place of the
    nearest image counted the same six (seed 0).
    """
    coder = bind(autoencoder)
    references = as_images(images, "images").cpu()
    classes, index = as_labels(labels, len(references))
    size = as_count(num_samples, "num_samples")
    source = generator(seed)
    finite = torch.isfinite(references).flatten(1).all(1)
    if not bool(finite.any()):
        raise ValueError(f"images: expected at least one of finite values, got none among {len(references)}")
    references, index = references[finite], index[finite]
    if len(references) > MAX_REFERENCES:
        chosen = torch.randperm(len(references), generator=source, device="cpu")[:MAX_REFERENCES]
        references, index = references[chosen], index[chosen]
    latent_dim = coder.encode(references[:1])[0].shape[1]
    codes = torch.randn(size, latent_dim, generator=source, dtype=torch.float64, device="cpu")
    pictures = coder.decode(codes, context, on_error="nan")[0].flatten(1)
    num_values = references[0].numel()
    if pictures.shape[1] != num_values:
        raise ValueError(f"decode: expected pictures of {num_values} values like the images, got {pictures.shape[1]}")
    decoded = torch.isfinite(pictures).all(1)
    known = references.flatten(1).to(pictures.dtype) / image_scale(references, pictures)
    nearest = _nearest(pictures[decoded], known, context)
    counts = torch.bincount(index[nearest], minlength=len(classes))
    accuracy = math.nan
    if len(known) > 1:
        accuracy = float((index[_nearest(known, known, context, leave_out_self=True)] == index).double().mean())
    return ClassCoverage(classes, counts, size, int((~decoded).sum()), accuracy, int((~finite).sum()))


def _nearest(
    queries: Float[Tensor, "query value"],
    known: Float[Tensor, "reference value"],
    context: Context | None,
    leave_out_self: bool = False,
) -> Int[Tensor, "query"]:
    """Index of the nearest known row of each query; query i is known row i where that one is left out."""
    nearest = torch.zeros(len(queries), dtype=torch.int64, device="cpu")
    step = max(1, _MAX_PAIRS // len(known))
    for start in range(0, len(queries), step):
        tick(context, start / len(queries), "comparing pictures")
        # by a matrix product, torch's choice for many rows, near neighbours are confused
        distance = torch.cdist(queries[start : start + step], known, compute_mode="donot_use_mm_for_euclid_dist")
        if leave_out_self:
            rows = torch.arange(len(distance), device="cpu")
            distance[rows, start + rows] = math.inf
        nearest[start : start + step] = distance.argmin(1)
    return nearest
