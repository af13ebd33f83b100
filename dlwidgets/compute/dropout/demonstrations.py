"""The numbers behind each picture of dropout: theory and an experiment for one setting, ready to be drawn."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.dropout.activations import activation_named
from dlwidgets.compute.dropout.arguments import checked_count, checked_probabilities, checked_probability
from dlwidgets.compute.dropout.combined import Combined, combine
from dlwidgets.compute.dropout.rounding import rounded_range
from dlwidgets.compute.dropout.simulation import draw, draw_masks, simulate

_TOLERANCE = 1e-12
"""Up to where two orders of operations count as equal: rounding in float64 is a thousand times smaller."""


@dataclass(frozen=True, eq=False)
class InARow:
    """How many of a layer's units survive dropouts in a row, and the single dropout that equals them.

    Attributes
    ----------
    combined
        The single one.
    total
        The sum of the probabilities, which is not its probability.
    num_kept
        0, 1, ..., all units.
    in_a_row, single
        Share of the samples in which that many survived all dropouts in a row, and the single one; both experiments
        have masks of their own.
    exact
        The chance of it, binomial with 1 - q.
    added
        The chance if q were ``total``; all NaN where that exceeds 1.
    largest
        A round number that none of the shares exceeds.
    """

    combined: Combined
    total: float
    num_kept: Int[Tensor, "count"]
    in_a_row: Float[Tensor, "count"]
    single: Float[Tensor, "count"]
    exact: Float[Tensor, "count"]
    added: Float[Tensor, "count"]
    largest: float


def in_a_row(
    probabilities: Any, num_units: int = 20, num_samples: int = 1000, seed: int = 0, *, context: Context | None = None
) -> InARow:
    """Dropouts in a row on ``num_units`` units, beside the one dropout with the same effect.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong kind or out of range.
    """
    tick(context, 0.0, "drawing masks")
    chances = checked_probabilities(probabilities)
    num_units = checked_count(num_units, "num_units")
    combined, total = combine(*chances), math.fsum(chances)

    def shares(p: Any, seed: int) -> Tensor:
        kept = draw_masks((num_units,), p, num_samples, seed).sum(1)
        return torch.bincount(kept, minlength=num_units + 1).double() / len(kept)

    row, single = shares(chances, seed), shares(combined.probability, seed + 1)
    exact = binomial(num_units, math.prod(1 - p for p in chances))
    possible = total <= 1
    added = binomial(num_units, 1 - total) if possible else torch.full_like(exact, torch.nan)
    highest = max(float(each.max()) for each in (row, single, exact, *([added] if possible else [])))
    return InARow(
        combined=combined,
        total=total,
        num_kept=torch.arange(num_units + 1),
        in_a_row=row,
        single=single,
        exact=exact,
        added=added,
        largest=rounded_range(0.0, highest)[1],
    )


def binomial(num_trials: int, chance: float) -> Float[Tensor, "count"]:
    """The chance of 0, 1, ..., ``num_trials`` successes."""
    return torch.tensor(
        [math.comb(num_trials, k) * chance**k * (1 - chance) ** (num_trials - k) for k in range(num_trials + 1)],
        dtype=torch.float64,
    )


@dataclass(frozen=True, eq=False)
class Orders:
    """Dropout before and after an activation f, with the same mask, on units that receive a range of values.

    Attributes
    ----------
    x, activation
        What the units receive, and f(x), their output in eval mode.
    mask
        True where a unit survived.
    before, after, difference
        The outputs for dropout before f and after it, and the former minus the latter.
    mean_before, mean_after
        The exact means over all masks.
    dropped_before, dropped_after
        What a dropped unit puts out: f(0), and 0.
    largest_difference
        The largest magnitude of ``difference`` over all masks: every unit both kept and dropped.
    same
        Whether that is nothing but rounding.
    output_range, difference_range
        Round numbers between which all outputs and means, and all differences, lie.
    """

    x: Float[Tensor, "unit"]
    activation: Float[Tensor, "unit"]
    mask: Bool[Tensor, "unit"]
    before: Float[Tensor, "unit"]
    after: Float[Tensor, "unit"]
    difference: Float[Tensor, "unit"]
    mean_before: Float[Tensor, "unit"]
    mean_after: Float[Tensor, "unit"]
    dropped_before: float
    dropped_after: float
    largest_difference: float
    same: bool
    output_range: tuple[float, float]
    difference_range: tuple[float, float]


def both_orders(
    activation: str, probability: float, num_units: int = 41, seed: int = 0, *, context: Context | None = None
) -> Orders:
    """Dropout before and after ``activation`` on units that receive evenly spaced values from -3 to 3.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong kind or out of range, or nothing is called so in `ACTIVATIONS`.
    """
    tick(context, 0.0, "drawing masks")
    f = activation_named(activation)
    probability = checked_probability(probability)
    x = torch.linspace(-3, 3, checked_count(num_units, "num_units"), dtype=torch.float64)
    before, after = (draw(x, probability, activation, order, num_samples=1, seed=seed) for order in ("before", "after"))
    one, other = before.expected, after.expected
    kept, dropped = one.kept - other.kept, one.dropped - other.dropped
    largest = max(float(kept.abs().max()), float(dropped.abs().max()))
    outputs = torch.stack([each for order in (one, other) for each in (order.kept, order.dropped)])
    difference = torch.where(before.masks[0], kept, dropped)
    return Orders(
        x=x,
        activation=f(x),
        mask=before.masks[0],
        before=before.values[0],
        after=after.values[0],
        difference=difference,
        mean_before=one.mean,
        mean_after=other.mean,
        dropped_before=float(f(torch.zeros((), dtype=torch.float64))),
        dropped_after=0.0,
        largest_difference=largest,
        same=largest < _TOLERANCE,
        output_range=rounded_range(float(outputs.min()), float(outputs.max())),
        difference_range=rounded_range(
            min(float(kept.min()), float(dropped.min())), max(float(kept.max()), float(dropped.max()))
        ),
    )


@dataclass(frozen=True, eq=False)
class Scaling:
    """The output of one unit in training, with or without the factor 1 / (1 - p), for every p and for one.

    Attributes
    ----------
    probabilities
        Those of the curves.
    eval_output
        The unit's value x, which is its output in eval mode.
    means, variances
        Over all masks, exactly: x and x^2 p / (1 - p) with the factor, (1 - p) x and x^2 p (1 - p) without.
    mean, variance
        The same for the one p.
    agrees
        Whether ``mean`` is ``eval_output``, up to rounding.
    sampled_mean, sampled_variance
        Estimates of them from ``num_samples`` masks.
    mean_interval, variance_interval
        The estimates minus and plus two of their standard errors; a variance is not below 0.
    largest_variance
        A round number that neither the curve nor the estimate with its interval exceeds.
    """

    probabilities: Float[Tensor, "probability"]
    eval_output: float
    means: Float[Tensor, "probability"]
    variances: Float[Tensor, "probability"]
    mean: float
    variance: float
    agrees: bool
    sampled_mean: float
    sampled_variance: float
    mean_interval: tuple[float, float]
    variance_interval: tuple[float, float]
    largest_variance: float
    num_samples: int


def scaling(
    probability: float,
    scaled: bool = True,
    value: float = 1.0,
    num_samples: int = 100,
    seed: int = 0,
    *,
    context: Context | None = None,
) -> Scaling:
    """One unit that holds ``value`` under dropout with ``probability``, ``scaled`` by 1 / (1 - p) or not.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong kind or out of range.
    """
    tick(context, 0.0, "drawing masks")
    probability = checked_probability(probability)
    unit = torch.tensor([float(value)], dtype=torch.float64)
    grid = torch.linspace(0, 0.9, 91, dtype=torch.float64)
    sampled = simulate(unit, probability, "identity", num_samples=num_samples, seed=seed, device="cpu")
    factor = 1.0 if scaled else 1 - probability  # without scaling every output is that many times as large
    mean = factor * float(sampled.mean_exact)
    sampled_mean, sampled_variance = factor * float(sampled.mean), factor**2 * float(sampled.variance)
    of_mean = 2 * factor * float(sampled.mean_standard_error)
    of_variance = 2 * factor**2 * float(sampled.variance_standard_error)
    variances = unit**2 * grid * (1 / (1 - grid) if scaled else 1 - grid)
    highest = sampled_variance + of_variance
    return Scaling(
        probabilities=grid,
        eval_output=float(unit),
        means=(unit * (1 if scaled else 1 - grid)).expand_as(grid),
        variances=variances,
        mean=mean,
        variance=factor**2 * float(sampled.variance_exact),
        agrees=abs(mean - float(unit)) < _TOLERANCE * max(1.0, abs(float(unit))),
        sampled_mean=sampled_mean,
        sampled_variance=sampled_variance,
        mean_interval=(sampled_mean - of_mean, sampled_mean + of_mean),
        variance_interval=(max(0.0, sampled_variance - of_variance), highest),
        largest_variance=rounded_range(0.0, max(highest, float(variances.max())))[1],
        num_samples=sampled.num_samples,
    )
