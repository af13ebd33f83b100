"""Monte Carlo dropout: the spread of a network's predictions when its dropout stays on."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.device import choose_device, in_chunks, ran_out_of_memory
from dlwidgets.compute.dropout.arguments import (
    checked_count,
    checked_inputs,
    checked_model,
    checked_probability,
    checked_seed,
)
from dlwidgets.compute.dropout.sampling import Sampler, checked_output, chunk_size
from dlwidgets.compute.dropout.survey import all_awake, survey
from dlwidgets.compute.observe import undisturbed
from dlwidgets.compute.randomness import OwnDraws

Output = Literal["logits", "log_probabilities", "probabilities", "values"]


@dataclass(frozen=True, eq=False)
class MonteCarlo:
    """What a network predicts over random dropout masks (Gal and Ghahramani, "Dropout as a Bayesian Approximation",
    ICML 2016).

    Attributes
    ----------
    mean, std
        Over the samples, of the probabilities (of the outputs themselves for "values"), in the shape of the model's
        output. The standard deviation is the unbiased one's root, NaN for a single sample.
    predictive_entropy
        H(mean), in nats: everything that is uncertain about the class. Shape of the output without the class axis; None
        for "values".
    mutual_information
        H(mean) minus the mean of each sample's H, in nats: the part that comes from the masks disagreeing, BALD
        (Houlsby et al., "Bayesian Active Learning for Classification and Preference Learning", 2011). None for
        "values".
    num_samples
        How many masks.
    """

    mean: Float[Tensor, "*output"]
    std: Float[Tensor, "*output"]
    predictive_entropy: Float[Tensor, "*rest"] | None
    mutual_information: Float[Tensor, "*rest"] | None
    num_samples: int


def monte_carlo(
    model: nn.Module,
    inputs: Any,
    num_samples: int = 100,
    probability: float | None = None,
    *,
    output: Output = "logits",
    seed: int = 0,
    context: Context | None = None,
) -> MonteCarlo:
    """Run ``model`` on ``inputs`` with ``num_samples`` independent dropout masks.

    Only the dropout sees training mode: modules, functional calls, attention's own and the one between recurrent
    layers. Everything else, BatchNorm above all, stays in eval mode. All samples of a chunk go through the model at
    once, by ``torch.vmap``, where its code allows it, else one after the other; a GPU is used when there is one. The
    model and the global random states are bitwise as before.

    Parameters
    ----------
    model
        Returns one tensor. For a classifier the classes are on axis 1, as for ``cross_entropy`` (axis 0 of a vector).
    inputs
        A tensor, a tuple of positional or a dict of keyword arguments.
    num_samples
        How many masks. Every sample has its own, also where the model draws one for the whole batch.
    probability
        Replaces the probability of all dropouts; by default each keeps its own. Attention and recurrent networks
        without dropout of their own stay without.
    output
        What the model returns: "logits" and "log_probabilities" are turned into probabilities; "values" are taken as
        they are, and have no entropy.
    seed
        The same seed gives the same result on the same kind of device.
    context
        Hears how far it is and can stop it.

    Raises
    ------
    TypeError
        If model, inputs or the model's output are of the wrong kind.
    ValueError
        If a number is out of range, the model has no dropout or fails, or what it returns is not what ``output`` says.
    Cancelled
        If the context says so.
    """
    model = checked_model(model)
    checked_inputs(inputs)
    num_samples = checked_count(num_samples, "num_samples")
    if probability is not None:
        probability = checked_probability(probability)
    if not isinstance(output, str) or output not in get_args(Output):
        raise ValueError(f"output must be one of {', '.join(get_args(Output))}; got {output!r}")
    seed = checked_seed(seed)

    def sampled(model: nn.Module, inputs: Any) -> MonteCarlo:
        with undisturbed(model, partial(all_awake, model, inputs)) as draws:
            return _sampled(model, inputs, num_samples, probability, output, seed, draws, context)

    moved = _on_gpu(model, inputs)
    if moved is not None:
        try:
            return sampled(*moved)
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
    return sampled(model, inputs)


def _on_gpu(model: nn.Module, inputs: Any) -> tuple[nn.Module, Any] | None:
    """A copy of model and inputs on the GPU, if there is one, they lie on the CPU and the model can be copied."""
    tensors = [*model.parameters(), *model.buffers(), *(x for x in tree_leaves(inputs) if isinstance(x, Tensor))]
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    device = choose_device(None, torch.float64 if wide else torch.float32)
    if device.type == "cpu" or any(tensor.device.type != "cpu" for tensor in tensors):
        return None
    try:
        return copy.deepcopy(model).to(device), tree_map_only(Tensor, lambda tensor: tensor.to(device), inputs)
    except Exception:  # copying runs the model's own code, which may refuse in any way; the CPU still works
        return None


def _sampled(
    model: nn.Module,
    inputs: Any,
    num_samples: int,
    probability: float | None,
    output: str,
    seed: int,
    draws: OwnDraws,
    context: Context | None,
) -> MonteCarlo:
    """What `monte_carlo` returns; changes modes, probabilities and random states, for `undisturbed` to put back."""
    found = draws.seeded(seed, partial(survey, model, inputs))
    plain = checked_output(found.evaluation.output)
    if not found.training.seen:
        raise ValueError(
            "the model has no dropout on these inputs, so all samples would be equal: add some, "
            "with_dropout(model, 0.5) makes a copy that has it after every activation"
        )
    summary = _Summary(plain, output)
    sampler = Sampler(model, inputs, probability, seed, draws, plain.device)

    def add(start: int, count: int) -> None:
        tick(context, start / num_samples, f"sample {start} of {num_samples}")
        summary.add(sampler.samples(start, count))

    with sampler.awake(found.needed):
        in_chunks(add, num_samples, chunk_size(found.training.largest))
    tick(context, 1.0, f"{num_samples} samples")
    return summary.result()


class _Summary:
    """Running sums over samples, of deviations from the first one: what never changes has exactly no spread."""

    def __init__(self, plain: Tensor, output: str) -> None:
        self._output = output
        self._classes = None if output == "values" else 1 if plain.ndim > 1 else 0
        self._dtype = plain.dtype if plain.dtype in (torch.float32, torch.float64) else torch.float32
        self._wide = torch.float32 if plain.device.type == "mps" else torch.float64
        if self._classes is not None:
            if plain.ndim == 0:
                raise ValueError(f"the model returned a single number, which are no {output}: choose output='values'")
            if plain.shape[self._classes] < 2:
                raise ValueError(
                    f"{output} of shape {tuple(plain.shape)} have fewer than two classes on axis {self._classes}: "
                    "choose output='values', or let the model return one number per class"
                )
        first = self._probabilities(plain.unsqueeze(0))[0]
        self._check(first)
        self._num = 0
        self._origin = first
        self._sum, self._norm = torch.zeros_like(first), torch.zeros_like(first)
        self._entropy_origin = self._entropy_sum = self._entropy(first)

    def add(self, outputs: Tensor) -> None:
        samples = self._probabilities(checked_output(outputs))
        if samples.shape[1:] != self._origin.shape:
            raise ValueError(
                f"the model returned shape {tuple(samples.shape[1:])} with dropout "
                f"and {tuple(self._origin.shape)} without"
            )
        origin = samples[0] if self._num == 0 else self._origin
        deviations = samples - origin
        # The root of the sum of squares, in units of the largest: squares of 1e-170 or 1e170 leave the floats.
        largest = deviations.abs().amax(0)
        norm = largest * (deviations / torch.where(largest > 0, largest, 1)).square().sum(0).sqrt()
        total = deviations.sum(0)
        if self._classes is not None:
            entropies = self._entropy(samples, first_axis=1)
            if self._num == 0:
                self._entropy_origin, self._entropy_sum = entropies[0], torch.zeros_like(entropies[0])
            self._entropy_sum = self._entropy_sum + (entropies - self._entropy_origin).sum(0)
        self._origin = origin
        self._sum, self._norm = self._sum + total, torch.hypot(self._norm, norm)
        self._num += len(samples)

    def result(self) -> MonteCarlo:
        n = self._num
        mean = self._origin + self._sum / n
        if n > 1:
            # The root of (squares - sum^2 / n) / (n - 1), as factors that stay in range.
            mean_norm = self._sum.abs() / n**0.5
            std = (self._norm - mean_norm).clamp(min=0).sqrt() * ((self._norm + mean_norm) / (n - 1)).sqrt()
        else:
            std = torch.full_like(mean, torch.nan)
        entropy = information = None
        if self._classes is not None:
            entropy = self._entropy(mean)
            expected = self._entropy_origin + self._entropy_sum / n
            information = self._returned((entropy - expected).clamp(min=0))  # negative by rounding only
            entropy = self._returned(entropy)
        return MonteCarlo(self._returned(mean), self._returned(std), entropy, information, n)

    def _returned(self, tensor: Tensor) -> Tensor:
        return tensor.to("cpu", self._dtype)

    def _probabilities(self, outputs: Tensor) -> Tensor:
        wide = outputs.detach().to(self._wide)
        if self._output == "logits":
            return wide.softmax(self._classes + 1)  # type: ignore[operator]
        return wide.exp() if self._output == "log_probabilities" else wide

    def _entropy(self, probabilities: Tensor, first_axis: int = 0) -> Tensor:
        if self._classes is None:
            return probabilities.new_zeros(())
        return torch.special.entr(probabilities).sum(self._classes + first_axis)

    def _check(self, probabilities: Tensor) -> None:
        """That what is called probabilities is that, up to the rounding of short floating-point types."""
        if self._output not in ("probabilities", "log_probabilities"):
            return
        total = probabilities.sum(self._classes)
        if not bool((probabilities >= -1e-6).all()) or not bool(((total - 1).abs() < 1e-2).all()):
            raise ValueError(
                f"the model's output is not {self._output}: on axis {self._classes} they must be positive and sum "
                f"to 1, and the sums go from {float(total.min()):.4g} to {float(total.max()):.4g}"
            )
