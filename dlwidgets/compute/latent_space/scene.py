"""A latent space as an explorer shows it: the posteriors of some images, and a plane with everything to draw on it.

The functions take picklable arguments and a context, fit for the runner.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.latent_space.autoencoder import Coder, bind
from dlwidgets.compute.latent_space.behind import apart, modules_behind
from dlwidgets.compute.latent_space.contours import contour
from dlwidgets.compute.latent_space.decoding import decode_grid, latent_box
from dlwidgets.compute.latent_space.inputs import as_codes, as_images, as_labels
from dlwidgets.compute.latent_space.pictures import (
    Pictures,
    arranged,
    shades,
    shrunk,
    to_bytes,
    value_range,
)
from dlwidgets.compute.latent_space.posterior import Moments, Posterior, aggregated_posterior, posterior
from dlwidgets.compute.latent_space.projection import PCA, Projection, fit_pca, fit_umap

View = Literal["plane", "pca", "umap"]

GRID_BYTES = 512 * 1024
SHEET_BYTES = 1024 * 1024
"""What one message may carry: a grid of more has smaller pictures, other pictures are sent one by one."""

PRIOR_RADIUS = 3.0
"""What is shown of N(0, 1) at least, in standard deviations."""

CONTOUR_SHARES = (0.393, 0.865, 0.989)
"""What 1, 2 and 3 standard deviations of a Gaussian in the plane hold."""


@dataclass(frozen=True, eq=False)
class _InOwnType:
    """A function that decodes, given codes of the floating-point type that its encoder returns."""

    decode: Callable[[Tensor], Any]
    dtype: torch.dtype

    def __call__(self, codes: Tensor) -> Any:
        return self.decode(codes.to(self.dtype))


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """An autoencoder with the posteriors of some images."""

    coder: Coder
    images: Tensor  # (sample, *shape)
    posterior: Posterior
    classes: tuple[Any, ...]  # the distinct labels, sorted; empty without labels
    labels: Int[Tensor, "sample"] | None  # for each image the index of its label in classes
    moments: Moments | None  # of the aggregated posterior; None if no posterior is finite
    picture_shape: tuple[int, ...] | None

    @property
    def latent_dim(self) -> int:
        """How many latent dimensions there are."""
        return self.posterior.mean.shape[1]

    @property
    def codes(self) -> Float[Tensor, "sample latent"]:
        """The posterior means."""
        return self.posterior.mean

    @property
    def drawn_codes(self) -> Float[Tensor, "sample latent"]:
        """The posterior means, NaN where the posterior is not valid."""
        return self.codes.masked_fill(~self.posterior.valid[:, None], math.nan)

    @property
    def kl(self) -> Float[Tensor, "latent"] | None:
        """The KL term of every dimension, averaged over the valid images, in nats; None for a deterministic encoder."""
        return self.posterior.kl[self.posterior.valid].mean(0) if self.posterior.stochastic else None

    @property
    def mean_sd(self) -> float | None:
        """The posteriors' standard deviation averaged over images and dimensions; None if deterministic."""
        return float(self.posterior.sd[self.posterior.valid].mean()) if self.posterior.stochastic else None

    @property
    def num_invalid(self) -> int:
        """How many images have a posterior that is not valid, so that they are not drawn."""
        return int((~self.posterior.valid).sum())


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of the latent space: of two dimensions through the code ``at``, of principal components, or of UMAP."""

    dims: tuple[int, int]
    at: Float[Tensor, "latent"]  # float64
    projection: Projection | None = None

    @property
    def exact(self) -> bool:
        """Whether a point's code is the one that projects to it; else the code is an estimate."""
        return self.projection is None or self.projection.exact

    def lift(self, points: Float[Tensor, "point 2"]) -> Float[Tensor, "point latent"]:
        """The codes of points."""
        if self.projection is not None:
            return self.projection.lift(points, self.at if self.exact else None)
        codes = self.at.repeat(len(points), 1)
        for axis, dim in enumerate(self.dims[: len(self.at)]):
            codes[:, dim] = points[:, axis].double()
        return codes

    def project(self, codes: Float[Tensor, "code latent"]) -> Float[Tensor, "code 2"]:
        """The points of codes; with one latent dimension their second coordinate is 0."""
        if self.projection is not None:
            finite = torch.isfinite(codes).all(1)
            points = torch.full((len(codes), 2), math.nan, dtype=torch.float64)
            if bool(finite.any()):
                points[finite] = self.projection.project(codes[finite])
            return points
        if codes.shape[1] == 1:
            return torch.cat([codes.double(), torch.zeros(len(codes), 1, dtype=torch.float64)], 1)
        return codes[:, list(self.dims)].double()

    def project_gaussian(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and covariance on the plane; None in fewer than two latent dimensions and where maps are not affine."""
        if len(mean) < 2 or not self.exact:
            return None
        if isinstance(self.projection, PCA):
            axes = self.projection.components
            return self.projection.project(mean[None])[0], axes @ covariance @ axes.T
        dims = list(self.dims)
        return mean[dims], covariance[dims][:, dims]


@dataclass(frozen=True, eq=False)
class Scene:
    """One plane of a space, ready to be drawn."""

    space: LatentSpace
    plane: Plane
    points: Float[Tensor, "sample 2"]
    box: tuple[tuple[float, float], tuple[float, float]]
    latent_box: tuple[tuple[float, float], ...]
    grid: Pictures | None  # (row * column) pictures, row 0 at the largest y; None if nothing can be decoded
    num_rows: int
    num_columns: int
    images: Pictures | None  # of every sample; None if they are too many to send
    reconstructions: Pictures | None
    limits: tuple[float, float]
    image_limits: tuple[float, float]
    prior: tuple[Float[Tensor, "point 2"], ...]
    aggregated: tuple[Float[Tensor, "point 2"], ...]
    problem: str  # why there is no grid
    note: str  # how images and decoded pictures are shaded, where they are not on one scale; else empty

    def pictures(self, outputs: Tensor) -> Pictures:
        """Outputs of the decoder in the grid's shades."""
        space = self.space
        pictures, curve = arranged(outputs, picture_shape=space.picture_shape, like=tuple(space.images.shape[1:]))
        return to_bytes(shrunk(pictures), self.limits, curve)

    def data_pictures(self, indices: Any) -> Pictures:
        """Some of the images themselves."""
        pictures, curve = arranged(
            self.space.images[indices], picture_shape=_fitting(self.space.images, self.space.picture_shape)
        )
        return to_bytes(shrunk(pictures), self.image_limits, curve)


def bind_apart(autoencoder: Any) -> Coder:
    """As `bind`, around copies of the module objects that share the weights (`apart`), to run beside a training.

    Neither modes nor buffers of the user's own modules are then touched; their buffers (running statistics) and what
    variables and globals hold are those of now, and are seen anew by binding again. Only a module that
    `modules_behind` does not find, and one in an object that cannot be copied, is run as it is.
    """
    coder = bind(autoencoder)
    encode, decode = apart(coder.encode_call, coder.decode_call)
    return Coder(encode, decode, modules_behind(encode), modules_behind(decode), coder.latent_dim)


def check_data(images: Any, labels: Any) -> tuple[Tensor, Any]:
    """Images and labels as they can be explored; what is wrong with them is said at once."""
    images = as_images(images, "images").cpu()
    if labels is not None:
        as_labels(labels, len(images))
    return images, labels


def noun_of(images: Tensor, picture_shape: tuple[int, ...] | None = None) -> str:
    """What to call one of them: what is drawn as a curve is no image."""
    return "data point" if arranged(images[:1], picture_shape=_fitting(images, picture_shape))[1] else "image"


def explore(
    coder: Coder,
    images: Tensor,
    labels: Any,
    *,
    view: View | None = None,
    dims: tuple[int, int] = (0, 1),
    at: Any = None,
    picture_shape: tuple[int, ...] | None = None,
    brief: bool = False,
    context: Context | None = None,
) -> Scene:
    """Encode the images and look at the space, from a plane through the code ``at`` as in `look_from`; ``brief`` makes
    a coarse grid and no reconstructions."""
    encoded = posterior(coder, images, context=context)
    if not coder.decode_modules:  # modules say their type themselves
        coder = replace(coder, decode_call=_InOwnType(coder.decode_call, encoded.mean.dtype))
    classes, index = ((), None) if labels is None else as_labels(labels, len(images))
    moments = aggregated_posterior(encoded) if bool(encoded.valid.any()) else None
    space = LatentSpace(coder, images, encoded, classes, index, moments, picture_shape)
    if view is None:
        view = "plane" if space.latent_dim <= 2 else "pca"
    return look_from(space, view=view, dims=dims, at=at, brief=brief, context=context)


def look_from(
    space: LatentSpace,
    *,
    view: View,
    dims: tuple[int, int] = (0, 1),
    at: Any = None,
    brief: bool = False,
    context: Context | None = None,
) -> Scene:
    """The scene of a plane; ``at`` None: through the origin, or for PCA through the mean of the codes."""
    if view == "umap":
        tick(context, 0.0, "fitting UMAP, which compiles first")
    plane = plane_of(space, view, dims, at)
    points = plane.project(space.drawn_codes)
    if space.latent_dim == 1 and space.labels is not None:
        points[:, 1] = space.labels.double()  # a lane for each class
    full_box = whole_box(space)
    box = _box_on(space, plane, points)
    grid, rows, columns, problem = _grid(space, plane, box, brief, context)
    again = None if brief or grid is None else _reconstructions(space, context)
    like = tuple(space.images.shape[1:])
    own, own_curve = arranged(space.images, picture_shape=_fitting(space.images, space.picture_shape))
    own = shrunk(own)
    limits = image_limits = value_range(own)
    note = ""
    sent = None
    if grid is not None:
        pictures, curve = arranged(grid, picture_shape=space.picture_shape, like=like)
        decoded = shrunk(pictures)
        limits, image_limits, note = shades(space.images, own, decoded)
        sent = to_bytes(shrunk(decoded, SHEET_BYTES // len(decoded)), limits, curve)
    small = own.numel() <= SHEET_BYTES
    sheet = None
    if again is not None:
        pictures, curve = arranged(again, picture_shape=space.picture_shape, like=like)
        pictures = shrunk(pictures)
        sheet = to_bytes(pictures, limits, curve) if pictures.numel() <= SHEET_BYTES else None
    return Scene(
        space=space,
        plane=plane,
        points=points,
        box=box,
        latent_box=full_box,
        grid=sent,
        num_rows=rows,
        num_columns=columns,
        images=to_bytes(own, image_limits, own_curve) if small else None,
        reconstructions=sheet,
        limits=limits,
        image_limits=image_limits,
        prior=outlines(plane, torch.zeros(space.latent_dim), torch.eye(space.latent_dim)),
        aggregated=()
        if space.moments is None
        else outlines(plane, space.moments.mean, space.moments.covariance, CONTOUR_SHARES[1:2]),
        problem=problem,
        note=note,
    )


def points_then(scene: Scene, codes: Float[Tensor, "trained latent"], rows: Tensor) -> Float[Tensor, "sample 2"]:
    """Where some of the images (``rows``) were on the plane when they had other ``codes``; NaN for the others."""
    points = torch.full_like(scene.points, math.nan)
    points[rows] = scene.plane.project(codes)
    if scene.space.latent_dim == 1 and scene.space.labels is not None:
        points[rows, 1] = scene.space.labels[rows].double()
    return points


def common_box(boxes: Sequence[tuple[tuple[float, float], ...]]) -> tuple[tuple[float, float], ...]:
    """The smallest box around all of them."""
    return tuple((min(low for low, _ in ends), max(high for _, high in ends)) for ends in zip(*boxes, strict=True))


def plane_of(space: LatentSpace, view: View, dims: tuple[int, int], at: Any) -> Plane:
    """The plane of two dimensions or of the principal components of the finite codes, through the code ``at``; or the
    one that UMAP makes of these codes."""
    num_latent = space.latent_dim
    if view == "pca":
        if num_latent < 2:
            raise ValueError("view: 'pca' needs at least two latent dimensions")
        components = fit_pca(space.drawn_codes) if space.moments is not None else _axes(num_latent)
        return Plane((0, 1), components.mean if at is None else as_code(at, num_latent), components)
    if view == "umap":
        return Plane((0, 1), torch.zeros(num_latent, dtype=torch.float64), fit_umap(space.drawn_codes))
    first, second = dims
    if num_latent > 1 and (first == second or not (0 <= first < num_latent and 0 <= second < num_latent)):
        raise ValueError(f"dims: expected two different dimensions from 0 to {num_latent - 1}, got {dims}")
    origin = torch.zeros(num_latent, dtype=torch.float64)
    return Plane(dims if num_latent > 1 else (0, 1), origin if at is None else as_code(at, num_latent))


def whole_box(space: LatentSpace) -> tuple[tuple[float, float], ...]:
    """The box around the codes in every latent dimension; with a stochastic encoder at least the prior's middle."""
    box = latent_box(space.codes[space.posterior.valid]) if space.moments is not None else ()
    if not space.posterior.stochastic and box:
        return box
    box = box or ((0.0, 0.0),) * space.latent_dim
    return tuple((min(low, -PRIOR_RADIUS), max(high, PRIOR_RADIUS)) for low, high in box)


def as_code(value: Any, num_latent: int, name: str = "at") -> Float[Tensor, "latent"]:
    code = as_codes(value, name).double()
    if code.shape != (1, num_latent) or not bool(torch.isfinite(code).all()):
        finite = "" if bool(torch.isfinite(code).all()) else "finite "
        example = ", ".join(("0.5", "-1")[:num_latent]) + (", ..." if num_latent > 2 else "")
        got = ", ".join(f"{number:g}" for number in code.flatten()[:8].tolist())
        plural = "" if num_latent == 1 else "s"
        raise ValueError(f"{name}: expected {num_latent} {finite}number{plural}, such as {example}; got {got}")
    return code[0]


def _axes(num_latent: int) -> PCA:
    """Where there are no codes: the first two dimensions."""
    identity = torch.eye(num_latent, dtype=torch.float64)
    return PCA(torch.zeros(num_latent, dtype=torch.float64), identity[:2], torch.zeros(2, dtype=torch.float64), 1.0)


def _box_on(space: LatentSpace, plane: Plane, points: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    finite = points[torch.isfinite(points).all(1)]
    if space.latent_dim == 1:
        return whole_box(space)[0], (-0.5, max(1, len(space.classes)) - 0.5)
    box = latent_box(finite) if len(finite) else ((0.0, 0.0), (0.0, 0.0))
    if plane.exact and (space.posterior.stochastic or not len(finite)):
        centre = plane.project(torch.zeros(1, space.latent_dim, dtype=torch.float64))[0].tolist()
        pairs = zip(box, centre, strict=True)
        box = tuple((min(low, c - PRIOR_RADIUS), max(high, c + PRIOR_RADIUS)) for (low, high), c in pairs)
    return box[0], box[1]


def _grid(
    space: LatentSpace, plane: Plane, box: Any, brief: bool, context: Context | None
) -> tuple[Tensor | None, int, int, str]:
    """The outputs of a grid as fine as `GRID_BYTES` allow, but never very coarse."""
    middle = torch.tensor([[sum(ends) / 2 for ends in box]], dtype=torch.float64)
    try:
        first = space.coder.decode(plane.lift(middle), context, on_error="nan")[0]
        size = min(first[0].numel(), 128 * 128 * 3)
    except ValueError:
        size = 1024  # the middle cannot be decoded; perhaps other places can
    budget = GRID_BYTES // 8 if brief else GRID_BYTES
    one_row = space.latent_dim == 1
    columns = min(256, max(16, budget // size)) if one_row else min(48, max(8, math.isqrt(budget // size)))
    rows = 1 if one_row else columns
    intervals = box[:1] if one_row else box
    try:
        pictures = decode_grid(
            space.coder,
            intervals,
            rows,
            columns,
            dims=plane.dims,
            at=plane.at if plane.exact else None,
            projection=plane.projection,
            context=context,
        )
    except ValueError as error:
        return None, rows, columns, str(error)
    return pictures.flatten(0, 1), rows, columns, ""


def _reconstructions(space: LatentSpace, context: Context | None) -> Tensor | None:
    if space.images.numel() > SHEET_BYTES or space.moments is None:
        return None
    try:
        return space.coder.decode(space.codes, context, on_error="nan")[0]
    except ValueError:
        return None


def outlines(
    plane: Plane, mean: Tensor, covariance: Tensor, shares: tuple[float, ...] = CONTOUR_SHARES
) -> tuple[Float[Tensor, "point 2"], ...]:
    on_plane = plane.project_gaussian(mean.double(), covariance.double())
    return () if on_plane is None else tuple(contour(*on_plane, share) for share in shares)


def _fitting(images: Tensor, wanted: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape to read the images in, if they are as large as the decoder's pictures."""
    return wanted if wanted and math.prod(wanted) == images[0].numel() else None
