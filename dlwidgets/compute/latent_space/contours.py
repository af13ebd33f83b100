"""Outlines of Gaussians in the plane: the prior, the aggregated posterior, the posterior of one image."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dlwidgets.compute.latent_space.inputs import as_codes, as_count, as_number, as_tensor, shape


def contour(mean: Any, covariance: Any, share: float = 0.5, num_points: int = 64) -> Float[Tensor, "point 2"]:
    """The ellipse of equal density that holds ``share`` of the probability of a Gaussian in the plane, float64.

    ``num_points`` points in counter-clockwise order, the first one not repeated, where the Mahalanobis distance is
    sqrt(-2 ln(1 - share)): in the plane, its square is exponential with mean 2. That is 1.18 for a half; the ellipse at
    one standard deviation holds only 39.3 %. ``covariance`` is (2, 2), or (2,) variances, possibly 0.
    """
    centre = as_codes(mean, "mean").double()
    spread = as_tensor(covariance, "covariance").to("cpu", torch.float64)
    spread = torch.diag(spread) if spread.dim() == 1 else spread
    if shape(centre) != (1, 2) or shape(spread) != (2, 2):
        got = f"{shape(centre)[1:]} and {shape(spread)}"
        raise ValueError(f"mean, covariance: expected a Gaussian in the plane, (2,) and (2, 2), got {got}")
    if not bool(torch.isfinite(spread).all() & torch.isfinite(centre).all()):
        raise ValueError("mean, covariance: expected finite numbers")
    share = as_number(share, "share", positive=True)
    if share >= 1:
        raise ValueError(f"share: expected a number between 0 and 1, got {share:g}")
    variances, axes = torch.linalg.eigh(0.5 * (spread + spread.T))
    if float(variances[0]) < -1e-9 * float(variances[1].abs()):
        raise ValueError("covariance: expected a matrix without negative eigenvalues")
    root = axes @ torch.diag(variances.clamp_min(0).sqrt()) @ axes.T  # symmetric, so the sense of rotation stays
    angle = 2 * math.pi * torch.arange(as_count(num_points, "num_points", 3), dtype=torch.float64, device="cpu")
    circle = torch.stack([torch.cos(angle / num_points), torch.sin(angle / num_points)], dim=1)
    return centre + math.sqrt(-2 * math.log1p(-share)) * circle @ root
