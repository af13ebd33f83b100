"""Masks one after the other, on a small layer or feature map, and the mean that settles on the eval output."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.dropout.arguments import checked_count, checked_probability
from dlwidgets.compute.dropout.rounding import rounded_range
from dlwidgets.compute.dropout.simulation import draw_masks


@dataclass(frozen=True, eq=False)
class Masked:
    """A network under many masks. Its one output is linear in the mask, so that the mean over all masks is exactly the
    output in eval mode.

    Attributes
    ----------
    hidden
        What dropout sees: values of the hidden units, or of the cells of the feature map, in eval mode.
    masks
        True where one of them survived.
    whole_channels
        Whether those of a channel survive together.
    outputs, running_mean
        The output with each mask, and the mean over the masks up to it.
    eval_output
        Without dropout.
    standard_deviation
        Of the output over all masks, exactly.
    low, high
        ``eval_output`` minus and plus two standard errors of the running mean, 2 standard_deviation / sqrt(samples so
        far); about 95 % of running means lie between them.
    output_range
        Round numbers between which all outputs, and the band from the third sample on, lie.
    """

    hidden: Float[Tensor, "*unit"]
    masks: Bool[Tensor, "sample *unit"]
    whole_channels: bool
    outputs: Float[Tensor, "sample"]
    running_mean: Float[Tensor, "sample"]
    eval_output: float
    standard_deviation: float
    low: Float[Tensor, "sample"]
    high: Float[Tensor, "sample"]
    output_range: tuple[float, float]


def masked_units(
    probability: float,
    num_samples: int = 200,
    seed: int = 0,
    *,
    num_inputs: int = 4,
    num_hidden: int = 10,
    context: Context | None = None,
) -> Masked:
    """A fixed network with one hidden layer and dropout after its ReLU, under masks drawn with ``seed``.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong kind or out of range.
    """
    tick(context, 0.0, "drawing masks")
    hidden, weights = _layer(checked_count(num_inputs, "num_inputs"), checked_count(num_hidden, "num_hidden"))
    return _masked(hidden, weights, checked_probability(probability), num_samples, seed, hidden.shape)


def masked_feature_map(
    probability: float,
    num_samples: int = 200,
    seed: int = 0,
    *,
    whole_channels: bool = False,
    context: Context | None = None,
) -> Masked:
    """Four fixed 8 x 8 feature maps of a ring, pooled and weighted into one output, with dropout after their ReLU.

    ``whole_channels`` drops each map as a whole, as ``nn.Dropout2d`` does, otherwise every cell for itself, as
    ``nn.Dropout`` does. Errors as for `masked_units`.
    """
    tick(context, 0.0, "drawing masks")
    hidden, weights = _feature_maps()
    unit = torch.Size((len(hidden), 1, 1)) if whole_channels else hidden.shape
    return _masked(hidden, weights, checked_probability(probability), num_samples, seed, unit)


def _masked(hidden: Tensor, weights: Tensor, p: float, num_samples: int, seed: int, unit: torch.Size) -> Masked:
    """``unit`` is the shape of what survives or is dropped as one; it broadcasts to that of ``hidden``."""
    masks = draw_masks(unit, p, num_samples, seed)
    contributions = (hidden * weights).reshape(*unit, -1).sum(-1).flatten()  # of each unit to the output
    scale = 1 / (1 - p) if p < 1 else 0.0
    outputs = masks.flatten(1).double() @ (contributions * scale)
    counts = torch.arange(1, len(masks) + 1, dtype=torch.float64)
    deviation = float((contributions.square().sum() * p * scale).sqrt())
    eval_output = float(contributions.sum())
    margin = 2 * deviation / counts.sqrt()
    seen = torch.cat([outputs, torch.tensor([eval_output], dtype=torch.float64)])
    widest = 2 * deviation / 3**0.5
    return Masked(
        hidden=hidden,
        masks=masks.expand(-1, *hidden.shape),
        whole_channels=unit != hidden.shape,
        outputs=outputs,
        running_mean=outputs.cumsum(0) / counts,
        eval_output=eval_output,
        standard_deviation=deviation,
        low=eval_output - margin,
        high=eval_output + margin,
        output_range=rounded_range(
            min(float(seen.min()), eval_output - widest), max(float(seen.max()), eval_output + widest)
        ),
    )


@lru_cache
def _layer(num_inputs: int, num_hidden: int) -> tuple[Tensor, Tensor]:
    """The hidden units' values, and the weights with which they enter the output: the same for every setting."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.rand(num_inputs, generator=generator, dtype=torch.float64)
    into = torch.randn(num_hidden, num_inputs, generator=generator, dtype=torch.float64) + 0.5
    out_of = torch.randn(num_hidden, generator=generator, dtype=torch.float64) + 0.3
    return (into @ inputs).relu(), out_of


@lru_cache
def _feature_maps() -> tuple[Tensor, Tensor]:
    """Edges of a ring to the right, below, to the left and above, and the weights of their cells in the output."""
    across = torch.linspace(-1, 1, 10, dtype=torch.float64)
    radius = (across.square() + across.square().unsqueeze(1)).sqrt()
    ring = (-((radius - 0.65) / 0.25).square()).exp()
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float64) / 4
    kernels = torch.stack([sobel, sobel.T, -sobel, -sobel.T]).unsqueeze(1)
    maps = F.conv2d(ring.unsqueeze(0), kernels).relu()
    weights = torch.tensor([1.0, 0.6, -0.4, 0.9], dtype=torch.float64).reshape(-1, 1, 1) / maps[0].numel()
    return maps, weights.expand_as(maps) * 10
