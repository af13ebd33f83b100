"""Pictures over a plane of the latent space and along paths through it."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dlwidgets.compute.context import Context
from dlwidgets.compute.latent_space.autoencoder import bind
from dlwidgets.compute.latent_space.inputs import as_box, as_codes, as_count, as_number, finite_rows, shape
from dlwidgets.compute.latent_space.projection import Projection

_QUADRATURE_NODES = 24


@dataclass(frozen=True, eq=False)
class Path:
    """Codes at equal steps of t from one end (t = 0) to the other (t = 1)."""

    codes: Float[Tensor, "step latent"]  # float64
    length: float  # of the curve itself, not of the polygon through the codes, in latent units


def latent_box(codes: Any, margin: float = 0.1) -> tuple[tuple[float, float], ...]:
    """The smallest box around the finite codes, grown on each side by ``margin`` times its extent.

    One (low, high) pair per latent dimension. A dimension in which all codes agree gets one unit to each side.
    """
    rows = finite_rows(as_codes(codes, "codes"), "codes").double()
    low, high = rows.amin(0), rows.amax(0)
    extent, margin = high - low, as_number(margin, "margin")
    scale = torch.maximum(low.abs(), high.abs())
    # Codes far from 0 are further apart in floating point than one unit: then that would not make a box.
    grow = torch.where(extent > 1e-9 * scale, margin * extent, (1e-9 * scale).clamp_min(1))
    return tuple(zip((low - grow).tolist(), (high + grow).tolist(), strict=True))


def prior_quantiles(num_points: int) -> Float[Tensor, "point"]:
    """The quantiles of N(0, 1) at (i + 1/2) / num_points: equal steps of prior probability, float64."""
    num_points = as_count(num_points, "num_points")
    probability = (torch.arange(num_points, dtype=torch.float64, device="cpu") + 0.5) / num_points
    return math.sqrt(2) * torch.special.erfinv(2 * probability - 1)


def grid_codes(
    box: Any = None,
    num_rows: int = 20,
    num_columns: int = 20,
    *,
    dims: tuple[int, int] = (0, 1),
    at: Any = None,
    projection: Projection | None = None,
) -> Float[Tensor, "row column latent"]:
    """The codes of a grid over a plane of the latent space, float64; `decode_grid` explains the arguments.

    Columns go along ``dims[0]`` upwards, rows along ``dims[1]`` downwards: row 0 has the largest value, as on a plane.
    """
    num_rows, num_columns = as_count(num_rows, "num_rows"), as_count(num_columns, "num_columns")
    through = None if at is None else as_codes(at, "at")[0].double()
    intervals = None if box is None else as_box(box)
    if intervals is not None and len(intervals) > 2:
        raise ValueError(f"box: a grid has two axes, got {len(intervals)} intervals; say with dims which two are meant")
    one_dimensional = len(intervals) == 1 if intervals else through is not None and len(through) == 1
    if intervals is None:
        if projection is not None:
            raise ValueError("box: give the box in the projected plane; a projection has no quantiles of the prior")
        x = prior_quantiles(num_columns)
        y = x[:1] if one_dimensional else prior_quantiles(num_rows)
    else:
        x = _nodes(intervals[0], num_columns)
        y = x[:1] if one_dimensional else _nodes(intervals[1], num_rows)
    points = torch.stack(torch.meshgrid(x, y.flip(0), indexing="xy"), dim=-1)  # (row, column, 2)
    if one_dimensional:
        return points[..., :1]
    if projection is not None:
        lifted = projection.lift(points.reshape(-1, 2), through)
        return lifted.reshape(*points.shape[:2], -1)
    first, second = _as_dims(dims)
    base = torch.zeros(max(2, first + 1, second + 1), dtype=torch.float64, device="cpu") if through is None else through
    if first == second or max(first, second) >= len(base):
        raise ValueError(f"dims: expected two different dimensions below {len(base)}, got {(first, second)}")
    codes = base.repeat(*points.shape[:2], 1)
    codes[..., first], codes[..., second] = points[..., 0], points[..., 1]
    return codes


def decode_grid(
    autoencoder: Any,
    box: Any = None,
    num_rows: int = 20,
    num_columns: int = 20,
    *,
    dims: tuple[int, int] = (0, 1),
    at: Any = None,
    projection: Projection | None = None,
    context: Context | None = None,
) -> Float[Tensor, "row column ..."]:
    """The decoded pictures (row, column, *output) of a grid over a plane of the latent space.

    ``box`` None: the grid runs through the prior's quantiles at (i + 1/2) / n, so every picture stands for the same
    share of N(0, I) (Kingma & Welling 2014, figure 4). ``box`` ((x_low, x_high), (y_low, y_high)): equal steps with the
    ends included, the grid between whose pictures a browser interpolates. Row 0 has the largest y.

    In more than two latent dimensions the plane is that of the two ``dims`` through the code ``at`` (default: the
    origin), or that of ``projection``, through ``at``. With one latent dimension (``box`` of one interval, or ``at`` of
    one number, or an autoencoder whose ``latent_dim`` says so) there is one row.

    Codes that cannot be decoded (``decode`` raises there) give NaN; ValueError if that is so for all.
    """
    coder = bind(autoencoder)
    if at is None and projection is None and coder.latent_dim is not None:
        at = torch.zeros(coder.latent_dim, dtype=torch.float64, device="cpu")
    codes = grid_codes(box, num_rows, num_columns, dims=dims, at=at, projection=projection)
    if coder.latent_dim not in (None, codes.shape[-1]):
        given = "box, at, projection"
        raise ValueError(f"{given}: the autoencoder has {coder.latent_dim} latent dimensions, these {codes.shape[-1]}")
    pictures, _ = coder.decode(codes.flatten(0, 1), context, on_error="nan")
    return pictures.reshape(*codes.shape[:2], *pictures.shape[1:])


def interpolate(start: Any, end: Any, num_steps: int = 12, kind: Literal["linear", "spherical"] = "linear") -> Path:
    """Codes from ``start`` to ``end``, both included, and the length of the way.

    "linear" is the straight line. "spherical" is sin((1-t)w)/sin(w) start + sin(tw)/sin(w) end, with w the angle
    between the two (Shoemake 1985; White, Sampling Generative Networks, 2016): between codes of equal norm the arc of a
    circle around the origin, which keeps to where a high-dimensional Gaussian has its mass; parallel codes give the
    straight line. ValueError where no arc is distinguished: an end at the origin, or ends in opposite directions.
    """
    a, b = as_codes(start, "start").double(), as_codes(end, "end").double()
    if len(a) != 1 or a.shape != b.shape:
        raise ValueError(f"start, end: expected two codes of the same length, got {shape(a)} and {shape(b)}")
    a, b = a[0], b[0]
    if not bool(torch.isfinite(torch.stack([a, b])).all()):
        raise ValueError("start, end: expected finite codes")
    if kind not in ("linear", "spherical"):
        raise ValueError(f"kind: expected 'linear' or 'spherical', got {kind!r:.80}")
    t = torch.linspace(0, 1, as_count(num_steps, "num_steps", 2), dtype=torch.float64, device="cpu")[:, None]
    straight = Path(a + t * (b - a), float(torch.linalg.vector_norm(b - a)))
    if kind == "linear":
        return straight
    angle = _angle(a, b)
    if angle == 0:
        return straight
    sine = math.sin(angle)
    codes = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / sine
    codes[0], codes[-1] = a, b
    return Path(codes, _arc_length(a, b, angle))


def _arc_length(a: Float[Tensor, "latent"], b: Float[Tensor, "latent"], angle: float) -> float:
    """The length of the spherical path, to rounding, by Gauss-Legendre quadrature on pieces of [0, 1].

    The curve is an arc of an ellipse around the origin; its speed has no closed-form integral, and has nearly a kink
    at the tips of a narrow ellipse, as between nearly opposite ends: so the pieces shrink towards the tips.
    """
    p, q = b - math.cos(angle) * a, -math.sin(angle) * a  # the speed is w / sin(w) |cos(wt) p + sin(wt) q|
    # its square is a constant plus a positive multiple of cos(2wt - phase), least where that cosine is -1
    phase = math.atan2(2 * float(p @ q), float(p @ p) - float(q @ q))
    tips = [(phase + turn * math.pi) / (2 * angle) for turn in (-1, 1, 3)]
    steps = [sign * 0.25**k for k in range(24) for sign in (-1, 1)]
    cuts = {0.0, 1.0, *tips, *(tip + step for tip in tips for step in steps)}
    edges = torch.tensor(sorted(t for t in cuts if 0 <= t <= 1), dtype=torch.float64, device="cpu")
    nodes, weights = _gauss_legendre(_QUADRATURE_NODES)
    width = edges.diff()
    t = angle * (edges[:-1] + width * nodes)[..., None]  # (node, piece, 1)
    speed = torch.linalg.vector_norm(torch.cos(t) * p + torch.sin(t) * q, dim=-1)
    return angle / math.sin(angle) * float((weights[:, None] * speed * width).sum())


def _angle(a: Float[Tensor, "latent"], b: Float[Tensor, "latent"]) -> float:
    """The angle between two codes, exact also near 0 and pi (Kahan's formula)."""
    norms = torch.linalg.vector_norm(a), torch.linalg.vector_norm(b)
    if 0 in norms:
        raise ValueError("start, end: a spherical path needs both ends away from the origin")
    u, v = a / norms[0], b / norms[1]
    apart, along = torch.linalg.vector_norm(u - v), torch.linalg.vector_norm(u + v)
    if along < 1e-9:
        raise ValueError("start, end: a spherical path is not defined between opposite directions")
    return float(2 * torch.atan2(apart, along))


def _as_dims(value: Any) -> tuple[int, int]:
    """The two dimensions of a plane."""
    try:
        first, second = value
    except (TypeError, ValueError) as error:
        raise TypeError(f"dims: expected two dimensions such as (0, 1), got {value!r:.80}") from error
    return as_count(first, "dims", 0), as_count(second, "dims", 0)


def _nodes(interval: tuple[float, float], num_points: int) -> Float[Tensor, "point"]:
    """Equal steps with both ends; a single point is the middle."""
    low, high = interval
    if num_points == 1:
        return torch.tensor([(low + high) / 2], dtype=torch.float64, device="cpu")
    return torch.linspace(low, high, num_points, dtype=torch.float64, device="cpu")


def _gauss_legendre(num_nodes: int) -> tuple[Float[Tensor, "node 1"], Float[Tensor, "node"]]:
    """Nodes and weights on [0, 1] (Golub & Welsch 1969: from the eigenvectors of the Jacobi matrix)."""
    k = torch.arange(1, num_nodes, dtype=torch.float64, device="cpu")
    beta = k / torch.sqrt(4 * k * k - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return ((nodes + 1) / 2)[:, None], vectors[0].square()
