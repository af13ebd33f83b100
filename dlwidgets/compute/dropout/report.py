"""A user's model in one go: where its dropouts stand and what it predicts when they stay on; and what to draw of it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.dropout.arguments import checked_count
from dlwidgets.compute.dropout.experiment import Sweep, sweep
from dlwidgets.compute.dropout.sampling import checked_output
from dlwidgets.compute.dropout.sites import Dropouts, find_dropout
from dlwidgets.compute.dropout.survey import one_pass, told
from dlwidgets.compute.dropout.uncertainty import MonteCarlo, monte_carlo
from dlwidgets.compute.observe import undisturbed


@dataclass(frozen=True, eq=False)
class Report:
    """What `examine` found.

    Attributes
    ----------
    dropouts
        Where they stand.
    monte_carlo
        The predictions with dropout on; None without inputs or without dropout.
    evaluation
        The prediction in eval mode, in the same unit as ``monte_carlo.mean``; None where that is.
    output
        How the model's output was read, see `monte_carlo`; "" where nothing was run.
    """

    dropouts: Dropouts
    monte_carlo: MonteCarlo | None
    evaluation: Float[Tensor, "*output"] | None
    output: str


def examine(
    model: nn.Module,
    inputs: Any = None,
    num_samples: int = 100,
    probability: float | None = None,
    *,
    output: str | None = None,
    seed: int = 0,
    context: Context | None = None,
) -> Report:
    """`find_dropout` and, given inputs, `monte_carlo` and the prediction in eval mode; the model stays as it was.

    ``output=None`` reads the output as `likely_output` says. Other arguments and errors as for `monte_carlo`.
    """
    dropouts = find_dropout(model, inputs)
    if inputs is None or not dropouts.sites:
        return Report(dropouts, None, None, "")
    if output is None:
        output = likely_output(model, inputs)
    # With probability 0 nothing is dropped, so that one sample is the prediction in eval mode.
    plain = monte_carlo(model, inputs, 1, 0.0, output=output, seed=seed)  # type: ignore[arg-type]
    sampled = monte_carlo(
        model,
        inputs,
        num_samples,
        probability,
        output=output,  # type: ignore[arg-type]
        seed=seed,
        context=context,
    )
    tick(context, 1.0, f"{sampled.num_samples} samples")
    return Report(dropouts, sampled, plain.mean, output)


def likely_output(model: nn.Module, inputs: Any) -> str:
    """How to read what the model returns, by its look in eval mode: "values" for fewer than two numbers on axis 1 (or
    on axis 0 of a vector), "probabilities" and "log_probabilities" where they sum to 1 over it, else "logits".

    Raises
    ------
    TypeError
        If the model does not return one tensor.
    ValueError
        If it fails.
    """
    run = partial(one_pass, model, inputs, {}, {})
    with undisturbed(model, run) as draws:
        try:
            returned = draws.seeded(0, run).output
        except Exception as error:
            raise ValueError(f"the model fails on these inputs in eval mode: {told(error)}") from error
    numbers = checked_output(returned)
    axis = 1 if numbers.ndim > 1 else 0
    if numbers.ndim == 0 or numbers.shape[axis] < 2 or numbers.numel() == 0:
        return "values"
    wide = numbers.detach().cpu().double()

    def sums_to_one(candidate: Tensor) -> bool:
        return bool((candidate >= 0).all()) and bool(((candidate.sum(axis) - 1).abs() < 1e-3).all())

    if sums_to_one(wide):
        return "probabilities"
    return "log_probabilities" if sums_to_one(wide.exp()) else "logits"


@dataclass(frozen=True, eq=False)
class Prediction:
    """One input's prediction, ready to be drawn.

    Attributes
    ----------
    index
        Which outputs: the classes, or the positions of a flattened output; the largest means where there are many.
    mean, low, high
        Mean over the masks, and one standard deviation below and above, cut at 0 and 1 for probabilities.
    evaluation
        In eval mode.
    predictive_entropy, mutual_information
        In nats, averaged over positions where a model classifies many; None for values.
    num_outputs
        How many there are, shown or not.
    num_positions
        Over how many positions (pixels, tokens) classes were averaged.
    """

    index: Int[Tensor, "shown"]
    mean: Float[Tensor, "shown"]
    low: Float[Tensor, "shown"]
    high: Float[Tensor, "shown"]
    evaluation: Float[Tensor, "shown"]
    predictive_entropy: float | None
    mutual_information: float | None
    num_outputs: int
    num_positions: int


def num_predictions(report: Report) -> int:
    """For how many inputs there is a prediction; 0 without any, 1 for an output without a batch axis."""
    if report.monte_carlo is None:
        return 0
    return len(report.monte_carlo.mean) if report.monte_carlo.mean.ndim > 1 else 1


def prediction(report: Report, index: int = 0, max_shown: int = 20) -> Prediction:
    """What ``report`` says about the input at ``index`` of the batch.

    Raises
    ------
    ValueError
        If there is no such prediction.
    """
    count = num_predictions(report)
    if report.monte_carlo is None or report.evaluation is None or not 0 <= index < count:
        raise ValueError(f"index must be less than the number of predictions, {count}; got {index}")
    sampled, classes = report.monte_carlo, report.output != "values"
    fields = [sampled.mean, sampled.std, report.evaluation]
    if sampled.mean.ndim > 1:
        fields = [field[index] for field in fields]
    num_positions = fields[0][0].numel() if classes else 1
    mean, std, plain = (
        field.double().flatten(1).mean(1) if classes and field.ndim > 1 else field.double().flatten()
        for field in fields
    )
    shown = torch.arange(len(mean))
    if len(mean) > checked_count(max_shown, "max_shown"):
        shown = mean.topk(max_shown).indices.sort().values
    low, high = mean - std, mean + std
    if classes:
        low, high = low.clamp(min=0), high.clamp(max=1)

    def average(nats: Tensor | None) -> float | None:
        if nats is None:
            return None
        return float((nats[index] if nats.ndim > 0 else nats).double().mean())

    return Prediction(
        index=shown,
        mean=mean[shown],
        low=low[shown],
        high=high[shown],
        evaluation=plain[shown],
        predictive_entropy=average(sampled.predictive_entropy),
        mutual_information=average(sampled.mutual_information),
        num_outputs=len(mean),
        num_positions=num_positions,
    )


@dataclass(frozen=True, eq=False)
class Curves:
    """A `Sweep`, averaged over its seeds.

    Attributes
    ----------
    train, validation
        Accuracy along the training.
    final_train, final_validation
        At its end.
    gap, gap_error
        Training minus validation accuracy at the end, and the standard error over seeds.
    """

    probabilities: Float[Tensor, "probability"]
    epoch: Int[Tensor, "point"]
    train: Float[Tensor, "probability point"]
    validation: Float[Tensor, "probability point"]
    final_train: Float[Tensor, "probability"]
    final_validation: Float[Tensor, "probability"]
    gap: Float[Tensor, "probability"]
    gap_error: Float[Tensor, "probability"]
    num_seeds: int


def averaged(result: Sweep) -> Curves:
    """The mean over the seeds of a sweep."""
    train, validation = result.train_accuracy.mean(1), result.validation_accuracy.mean(1)
    return Curves(
        probabilities=result.probabilities,
        epoch=result.epoch,
        train=train,
        validation=validation,
        final_train=train[:, -1],
        final_validation=validation[:, -1],
        gap=result.gap,
        gap_error=result.gap_standard_error,
        num_seeds=result.train_accuracy.shape[1],
    )


SWEPT = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""The probabilities that `swept` compares."""


def swept(*, context: Context | None = None) -> Curves:
    """`sweep` over `SWEPT`, averaged."""
    return averaged(sweep(SWEPT, context=context))
