"""Planes to look at a latent space of more than two dimensions, with the way back for decoding."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dlwidgets.compute.latent_space.inputs import as_codes, as_count, finite_rows, shape

NUM_NEIGHBOURS = 15
"""Codes that UMAP looks at together (its own default), and points that the way back looks at."""


@runtime_checkable
class Projection(Protocol):
    """A map from codes to points of a plane and a way back."""

    @property
    def exact(self) -> bool:
        """Whether ``project(lift(point))`` is the point, to rounding; if not, say on screen that it is approximate."""

    def project(self, codes: Any) -> Float[Tensor, "code component"]:
        """The points of codes (code, latent)."""

    def lift(self, points: Any, through: Any = None) -> Float[Tensor, "point latent"]:
        """Codes that project to points (point, component)."""


@dataclass(frozen=True, eq=False)
class PCA:
    """An affine plane through the mean of the codes along their directions of largest variance, float64."""

    mean: Float[Tensor, "latent"]
    components: Float[Tensor, "component latent"]  # orthonormal rows, largest variance first, largest entry positive
    explained_variance: Float[Tensor, "component"]  # of the codes along each component, dividing by their number
    explained_share: float  # of the codes' total variance; 1.0 if they do not vary

    exact = True

    def project(self, codes: Any) -> Float[Tensor, "code component"]:
        """Coordinates in the plane: (codes - mean) @ components.T."""
        return (self._codes(codes, "codes") - self.mean) @ self.components.T

    def lift(self, points: Any, through: Any = None) -> Float[Tensor, "point latent"]:
        """The codes with these coordinates: in the plane itself or in the parallel plane through the code ``through``.

        ``project(lift(points))`` gives the points back, and ``lift(project(z), through=z)`` gives z back.
        """
        coordinates = as_codes(points, "points").double()
        if coordinates.shape[1] != len(self.components):
            raise ValueError(f"points: expected (point, {len(self.components)}), got {shape(coordinates)}")
        if through is None:
            return self.mean + coordinates @ self.components
        base = self._codes(through, "through")
        return base + (coordinates - (base - self.mean) @ self.components.T) @ self.components

    def _codes(self, codes: Any, name: str) -> Float[Tensor, "code latent"]:
        rows = as_codes(codes, name).double()
        if rows.shape[1] != len(self.mean):
            raise ValueError(f"{name}: expected (code, {len(self.mean)}), got {shape(rows)}")
        return rows


@dataclass(frozen=True, eq=False)
class UMAP:
    """A UMAP embedding (McInnes et al. 2018): neighbourhoods kept, distances not, the way back approximate.

    Both ways average over the nearest of what was fitted, in a millisecond. UMAP's own ``inverse_transform`` compiles
    and triangulates anew at each call, seconds long, and of held-out digits it finds the codes no better; the first
    ``transform`` compiles for 5 s to a minute and keeps 57 % of the neighbours of held-out digits, this 54 %.
    """

    reducer: Any  # the fitted umap.UMAP
    seed: int
    codes: Float[Tensor, "code latent"]  # what it was fitted to
    points: Float[Tensor, "code component"]  # where these are, float64

    exact = False

    def project(self, codes: Any) -> Float[Tensor, "code component"]:
        """Points of codes among those that were fitted; of just the codes it was fitted to, their own points."""
        rows = as_codes(codes, "codes")
        if torch.equal(rows, self.codes):
            return self.points.clone()
        return _averaged(self._code_tree, self.points, rows.double())

    def lift(self, points: Any, through: Any = None) -> Float[Tensor, "point latent"]:
        """Approximate codes of points: at the point of a fitted code that code, outside the cloud what its edge has."""
        if through is not None:
            raise ValueError("through: UMAP has no parallel planes; leave it out")
        return _averaged(self._point_tree, self.codes.double(), as_codes(points, "points").double())

    @cached_property
    def _code_tree(self) -> Any:
        return _tree(self.codes)

    @cached_property
    def _point_tree(self) -> Any:
        return _tree(self.points)


def _tree(places: Tensor) -> Any:
    from sklearn.neighbors import KDTree

    return KDTree(places.double().numpy())


def _averaged(tree: Any, values: Float[Tensor, "place value"], at: Float[Tensor, "row axis"]) -> Tensor:
    """The values at the places nearest to each row, averaged with the weights of Franke and Nielson (1980): steady
    along the way, and at a place its own value."""
    num_near = min(NUM_NEIGHBOURS, len(values) - 1)
    distance, index = (torch.from_numpy(found) for found in tree.query(at.numpy(), num_near + 1))
    reach, distance = distance[:, -1:], distance[:, :-1].clamp_min(1e-12)
    weights = ((reach - distance).clamp_min(0) / (reach * distance)).square()
    weights[~(weights.sum(1) > 0)] = 1.0  # too far away to tell them apart, or all at one place
    return torch.einsum("rn,rnv->rv", weights / weights.sum(1, keepdim=True), values[index[:, :-1]])


def fit_pca(codes: Any, num_components: int = 2) -> PCA:
    """The principal components of the finite codes (code, latent); at most as many as there are latent dimensions.

    Where the codes do not vary (one point, a collapsed space) the components are still orthonormal, but arbitrary.
    """
    rows = finite_rows(as_codes(codes, "codes"), "codes").double()
    num_latent = rows.shape[1]
    if as_count(num_components, "num_components") > num_latent:
        raise ValueError(f"num_components: expected at most the {num_latent} latent dimensions, got {num_components}")
    mean = rows.mean(0)
    centred = rows - mean
    variance, directions = torch.linalg.eigh(centred.T @ centred / len(rows))  # ascending
    variance = variance.flip(0).clamp_min(0)
    components = directions.T.flip(0)[:num_components]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    total = float(variance.sum())
    return PCA(
        mean=mean,
        components=components * largest.sign(),
        explained_variance=variance[:num_components],
        explained_share=float(variance[:num_components].sum()) / total if total > 0 else 1.0,
    )


def fit_umap(codes: Any, num_components: int = 2, *, seed: int = 0) -> UMAP:
    """A UMAP embedding of the finite codes, the same for the same seed.

    ImportError, saying what to install, where umap-learn is missing; ValueError for fewer than num_components + 2 of
    them.
    """
    rows = finite_rows(as_codes(codes, "codes"), "codes")
    num_components, seed = as_count(num_components, "num_components"), as_count(seed, "seed", 0)
    try:
        from umap import UMAP as Reducer  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError("UMAP needs the optional package umap-learn: pip install umap-learn") from error
    if len(rows) < num_components + 2:
        raise ValueError(f"codes: UMAP needs at least {num_components + 2} of them, got {len(rows)}")
    # all that it would choose by itself as well, but with a warning
    chosen = {"n_neighbors": min(NUM_NEIGHBOURS, len(rows) - 1), "n_jobs": 1}
    reducer = Reducer(n_components=num_components, random_state=seed, **chosen).fit(rows.float().numpy())
    return UMAP(reducer, seed, rows, torch.from_numpy(reducer.embedding_.astype("float64")))
