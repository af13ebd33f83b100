"""What an explorer asks about a scene: a place on the plane, an image, a path, the prior.

The functions take picklable arguments and a context, fit for the runner.
"""

import math
import operator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.latent_space.coverage import (
    MAX_REFERENCES,
    ClassCoverage,
    Coverage,
    box_coverage,
    class_coverage,
)
from dlwidgets.compute.latent_space.decoding import interpolate, latent_box
from dlwidgets.compute.latent_space.inputs import generator
from dlwidgets.compute.latent_space.pictures import Pictures
from dlwidgets.compute.latent_space.posterior import Posterior, active_units
from dlwidgets.compute.latent_space.scene import CONTOUR_SHARES, LatentSpace, Scene, as_code, outlines

Outlines: TypeAlias = tuple[Float[Tensor, "point 2"], ...]

NUM_PRIOR_SAMPLES = 10_000
MIN_PRIOR_SAMPLES = 2000
MAX_COMPARED = 2 * 10**9
"""Values compared to find the classes of the prior's samples: of many large images fewer samples are drawn."""
WITHIN = 2.0
MAX_MEASURED = 50_000  # images; of more, how much of the box they cover is not measured
NUM_PICTURES = 16
NUM_ENCODINGS = 8

_HALF_LANE = 0.4  # of the height that a class has in one latent dimension
_BEYOND = 100  # heights of the plane, so that no end of a band comes into sight


@dataclass(frozen=True, eq=False)
class Place:
    """What the decoder makes of a point of the plane."""

    point: tuple[float, float]
    z: tuple[float, ...]
    picture: Pictures | None
    problem: str  # why there is no picture
    exact: bool = True  # False: z is an estimate of the code at the point


@dataclass(frozen=True, eq=False)
class Look:
    """What is known of one image."""

    index: int
    image: Pictures
    reconstruction: Pictures | None
    outlines: Outlines  # of its posterior; empty if it has no variances
    kl: Float[Tensor, "latent"] | None


@dataclass(frozen=True, eq=False)
class Encodings:
    """One image encoded several times."""

    index: int
    codes: Float[Tensor, "draw latent"]
    points: Float[Tensor, "draw 2"]
    pictures: Pictures
    stochastic: bool  # False: the encoder has no variances, all codes agree


@dataclass(frozen=True, eq=False)
class Walk:
    """A path across the plane and the pictures along it."""

    points: Float[Tensor, "step 2"]
    length: float
    pictures: Pictures | None


@dataclass(frozen=True, eq=False)
class PriorReport:
    """Samples of N(0, I), decoded, and which classes they look like."""

    samples: Pictures
    coverage: ClassCoverage | None  # None without labels
    num_latent: int
    num_active: int | None  # latent dimensions whose posterior means vary; None if no posterior is finite
    box: Coverage | None  # of the box around the codes; None without variances and for very many images
    within: float = WITHIN  # posterior standard deviations


def decode_at(
    scene: Scene, point: tuple[float, float], *, z: tuple[float, ...] | None = None, context: Context | None = None
) -> Place:
    """The exact picture of a point of the plane, or of the code ``z`` which projects there; a decoder that fails there
    is no error but said in the answer."""
    exact = z is not None or scene.plane.exact
    if z is None:
        codes = scene.plane.lift(torch.tensor([point], dtype=torch.float64))
        z = tuple(codes[0].tolist())
    else:
        codes = torch.tensor([z], dtype=torch.float64)
    try:
        pictures = scene.pictures(scene.space.coder.decode(codes, context)[0])
    except ValueError as error:
        return Place(point, z, None, str(error), exact)
    if not bool(pictures.valid[0]):
        return Place(point, z, None, "the decoder gives numbers that are not finite", exact)
    return Place(point, z, pictures, "", exact)


def look_at(scene: Scene, index: int, *, context: Context | None = None) -> Look:
    """One image: itself, its reconstruction, the outline of its posterior and its KL by dimension."""
    space = scene.space
    image = scene.data_pictures([index])
    q = _posterior_of(space, index)
    if not bool(q.valid[0]):
        return Look(index, image, None, (), None)
    mean = q.mean[0]
    try:
        again = scene.pictures(space.coder.decode(mean[None], context)[0])
    except ValueError:
        again = None
    if not space.posterior.stochastic:
        return Look(index, image, again, (), None)
    sd = q.sd[0].double()
    if space.latent_dim == 1:
        lane = float(scene.points[index, 1])
        around = _bands(float(mean), float(sd), (1, 2), (lane - _HALF_LANE, lane + _HALF_LANE))
    else:
        around = outlines(scene.plane, mean, torch.diag(sd.square()), CONTOUR_SHARES[:2])
    return Look(index, image, again, around, q.kl[0])


def _posterior_of(space: LatentSpace, index: int) -> Posterior:
    """That of one image by itself: what follows from it is then not computed for all of them."""
    rows = slice(index, index + 1)
    return Posterior(space.posterior.mean[rows], space.posterior.log_variance[rows])


def shared_outlines(scene: Scene) -> tuple[Outlines, Outlines]:
    """The outlines of the prior at 1, 2 and 3 standard deviations, and of the aggregated posterior at 2.

    With one latent dimension they are bands that reach beyond the top and the bottom of the plane, because its height
    means nothing.
    """
    if scene.space.latent_dim > 1:
        return scene.prior, scene.aggregated
    bottom, top = scene.box[1]
    beyond = (bottom - _BEYOND * (top - bottom), top + _BEYOND * (top - bottom))
    moments = scene.space.moments
    together = () if moments is None else _bands(float(moments.mean), float(moments.covariance) ** 0.5, (2,), beyond)
    return _bands(0.0, 1.0, (1, 2, 3), beyond), together


def _bands(mean: float, sd: float, widths: tuple[int, ...], height: tuple[float, float]) -> Outlines:
    """Rectangles as wide as so many standard deviations to both sides of the mean."""
    bottom, top = height
    edges = [(mean - width * sd, mean + width * sd) for width in widths]
    corners = [[(left, bottom), (right, bottom), (right, top), (left, top)] for left, right in edges]
    return tuple(torch.tensor(rectangle, dtype=torch.float64) for rectangle in corners)


def encode_again(scene: Scene, index: int, *, context: Context | None = None) -> Encodings:
    """What encoding the same image `NUM_ENCODINGS` times gives: one z ~ q(z|x) each time, and its picture."""
    space = scene.space
    q = _posterior_of(space, index)
    if not bool(q.valid[0]):
        raise ValueError(f"the posterior of image {index} is not finite")
    codes = q.sample(NUM_ENCODINGS)[:, 0]
    pictures = scene.pictures(space.coder.decode(codes, context, on_error="nan")[0])
    return Encodings(index, codes, scene.plane.project(codes), pictures, q.stochastic)


def path_ends(scene: Scene) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a first path may start and end: the means of the first and the last class, or a quarter into the box; not
    in opposite directions, so that the path may be spherical too. In one latent dimension there is no such choice."""
    candidates = []
    labels = scene.space.labels
    if labels is not None and scene.space.latent_dim > 1:
        finite = torch.isfinite(scene.points).all(1)
        means = torch.stack([scene.points[finite & (labels == k)].mean(0) for k in (0, len(scene.space.classes) - 1)])
        if bool(torch.isfinite(means).all()) and bool((means[0] != means[1]).any()):
            candidates.append(means)
    (left, right), (bottom, top) = scene.box
    for height in (0.75, 0.25):  # at one of them at least the line between the ends misses the origin
        y = (1 - height) * bottom + height * top
        ends = [(0.75 * left + 0.25 * right, y), (0.25 * left + 0.75 * right, y)]
        candidates.append(torch.tensor(ends, dtype=torch.float64))
    chosen = next((ends for ends in candidates if _has_arc(scene, ends)), candidates[-1])
    (a, b), (c, d) = chosen.tolist()
    return (a, b), (c, d)


def _has_arc(scene: Scene, ends: Float[Tensor, "end 2"]) -> bool:
    """Whether a spherical path may join two points."""
    start, end = scene.plane.lift(ends)
    try:
        interpolate(start, end, 2, "spherical")
    except ValueError:
        return False
    return True


def walk(
    scene: Scene,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    kind: Literal["linear", "spherical"] = "linear",
    num_steps: int = NUM_PICTURES,
    context: Context | None = None,
) -> Walk:
    """The pictures along a path between two points of the plane."""
    ends = scene.plane.lift(torch.tensor([start, end], dtype=torch.float64))
    fine = interpolate(ends[0], ends[1], 64, kind)
    path = interpolate(ends[0], ends[1], num_steps, kind)
    try:
        pictures = scene.pictures(scene.space.coder.decode(path.codes, context, on_error="nan")[0])
    except ValueError:
        pictures = None
    points = scene.plane.project(fine.codes)
    if scene.space.latent_dim == 1:  # the second coordinate means nothing: it goes with the ends
        points[:, 1] = torch.linspace(start[1], end[1], len(points), dtype=torch.float64)
    return Walk(points, path.length, pictures)


def pictures_of(scene: Scene, indices: list[int], *, context: Context | None = None) -> Pictures:
    """The data pictures of some images."""
    tick(context, 0.0, "collecting pictures")
    return scene.data_pictures(indices)


def sample_prior(scene: Scene, *, seed: int = 0, context: Context | None = None) -> PriorReport:
    """Pictures of samples of N(0, I), with labels the classes that 10,000 of them fall into, and how much of the latent
    space the images use; for many large images 2,000 samples at least."""
    space = scene.space
    codes = torch.randn(NUM_PICTURES, space.latent_dim, generator=generator(seed), dtype=torch.float64)
    samples = scene.pictures(space.coder.decode(codes, context, on_error="nan")[0])
    coverage = None
    if space.labels is not None:
        coverage = class_coverage(
            space.coder, space.images, space.labels, num_samples=_num_samples(space), seed=seed, context=context
        )
        coverage = replace(coverage, classes=tuple(space.classes[i] for i in coverage.classes))
    q, active, box = space.posterior, None, None
    if space.moments is not None:
        active = int(active_units(q).sum())
        if q.stochastic and len(space.images) <= MAX_MEASURED:
            box = box_coverage(q, latent_box(space.codes[q.valid], 0.0), within=WITHIN, seed=seed, context=context)
    return PriorReport(samples, coverage, space.latent_dim, active, box)


def _num_samples(space: LatentSpace) -> int:
    compared = min(len(space.images), MAX_REFERENCES) * space.images[0].numel()
    return min(NUM_PRIOR_SAMPLES, max(MIN_PRIOR_SAMPLES, MAX_COMPARED // compared))


def point_of(scene: Scene, z: Any) -> tuple[tuple[float, float], tuple[float, ...]]:
    """The point of the plane for a typed code, and that code; ValueError if its length does not fit."""
    code = as_code(z, scene.space.latent_dim, "z")
    x, y = scene.plane.project(code[None])[0].tolist()
    return (x, y), tuple(code.tolist())


def as_selection(value: Any, num_samples: int) -> tuple[int, ...]:
    """Indices of images as a tuple of integers from 0 to ``num_samples`` - 1; a mask with one boolean an image gives
    those of its True."""
    expected = f"expected the indices of images, or a mask of {num_samples} booleans"
    try:
        entries = list(value.tolist() if hasattr(value, "tolist") else value)
        are_bool = [isinstance(entry, (bool, np.bool_)) for entry in entries]
        if any(are_bool):
            if not all(are_bool) or len(entries) != num_samples:
                raise ValueError(f"selected: {expected}, got {sum(are_bool)} booleans among {len(entries)} values")
            return tuple(i for i, chosen in enumerate(entries) if chosen)
        indices = tuple(operator.index(entry) for entry in entries)
    except TypeError as error:
        raise TypeError(f"selected: {expected}, got {value!r:.80}") from error
    wrong = next((index for index in indices if not 0 <= index < num_samples), None)
    if wrong is not None:
        raise ValueError(f"selected: there are {num_samples} images, counted from 0; got {wrong}")
    return indices


def as_dims(value: tuple[int, int], num_latent: int | None = None) -> tuple[int, int]:
    """Two different dimensions, of ``num_latent`` where that is known; with a single one they mean nothing."""
    top = "" if num_latent is None else f" from 0 to {num_latent - 1}"
    if num_latent != 1 and (value[0] == value[1] or (num_latent is not None and max(value) >= num_latent)):
        raise ValueError(f"dims: expected two different dimensions{top}, got {value}")
    return value


def as_path(value: Any) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The two ends of a path on the plane, or None."""
    if value is None:
        return None
    try:
        (a, b), (c, d) = value
        ends = (float(a), float(b)), (float(c), float(d))
    except (TypeError, ValueError) as error:
        raise TypeError(f"path: expected ((x, y), (x, y)), got {value!r:.80}") from error
    if not all(math.isfinite(number) for end in ends for number in end):
        raise ValueError(f"path: expected finite numbers, got {ends}")
    return ends
