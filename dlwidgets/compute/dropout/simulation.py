"""Dropout on a toy tensor: the exact mean and variance of every unit, and an experiment beside them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dlwidgets.compute.device import choose_device, in_chunks
from dlwidgets.compute.dropout.activations import activation_named
from dlwidgets.compute.dropout.arguments import checked_count, checked_probabilities, checked_seed
from dlwidgets.compute.dropout.combined import combine

Placement = Literal["before", "after"]

_CHUNK_NUMBERS = 2**22  # random numbers drawn at once: 32 MiB


@dataclass(frozen=True, eq=False)
class Expected:
    """What dropout does to every unit, in closed form.

    A unit survives with the same chance k everywhere and then holds one value, else another, so that

        mean = k kept + (1 - k) dropped,        variance = k (1 - k) (kept - dropped)^2.

    For dropout after the activation f, kept = f(x) / k and dropped = 0, which gives mean f(x) and variance
    f(x)^2 (1 - k) / k; before it, kept = f(x / k) and dropped = f(0). Exact up to the rounding of x's dtype.

    Attributes
    ----------
    keep_rate
        k, the product of all 1 - p.
    kept, dropped
        The output of a unit that survives, and of one that does not (where k = 0 both are the latter).
    mean, variance
        Of the output over all masks.
    """

    keep_rate: Float[Tensor, "*unit"]
    kept: Float[Tensor, "*unit"]
    dropped: Float[Tensor, "*unit"]
    mean: Float[Tensor, "*unit"]
    variance: Float[Tensor, "*unit"]


@dataclass(frozen=True, eq=False)
class Simulation:
    """An experiment of ``num_samples`` independent masks beside the exact values; everything has x's shape.

    Attributes
    ----------
    keep_rate
        Share of the samples in which a unit survived all dropouts.
    mean, variance
        Of a unit's output over the samples; the variance is the unbiased one, NaN for a single sample.
    ..._exact
        What they estimate (see `Expected`).
    ..._standard_error
        The standard deviation of the estimate over repeated experiments, from the exact values: for a survival
        chance k and n samples sqrt(k (1 - k) / n), sqrt(variance / n) and sqrt((m4 - variance^2 (n - 3)/(n - 1)) / n)
        with the fourth central moment m4 of a two-valued variable.
    num_samples
        n.
    """

    keep_rate: Float[Tensor, "*unit"]
    keep_rate_exact: Float[Tensor, "*unit"]
    keep_rate_standard_error: Float[Tensor, "*unit"]
    mean: Float[Tensor, "*unit"]
    mean_exact: Float[Tensor, "*unit"]
    mean_standard_error: Float[Tensor, "*unit"]
    variance: Float[Tensor, "*unit"]
    variance_exact: Float[Tensor, "*unit"]
    variance_standard_error: Float[Tensor, "*unit"]
    num_samples: int


@dataclass(frozen=True, eq=False)
class Draws:
    """Single samples, one after the other, for looking at.

    Attributes
    ----------
    masks
        True where a unit survived all dropouts.
    values
        The outputs.
    totals
        The sum of each sample's outputs: what a next layer with weights 1 receives.
    running_mean, running_standard_error
        The mean over the samples up to this one, and how far from ``expected.mean`` it is expected to be,
        sqrt(variance / number of samples so far).
    expected
        The exact values.
    """

    masks: Bool[Tensor, "sample *unit"]
    values: Float[Tensor, "sample *unit"]
    totals: Float[Tensor, "sample"]
    running_mean: Float[Tensor, "sample *unit"]
    running_standard_error: Float[Tensor, "sample *unit"]
    expected: Expected


@dataclass(frozen=True)
class _Experiment:
    """Checked arguments: which dropouts and which activation, in which order."""

    probabilities: tuple[float, ...]
    activation: str
    placement: Placement
    scaled: bool

    @property
    def keep_rate(self) -> float:
        return math.prod(1 - p for p in self.probabilities)

    @property
    def drop_rate(self) -> float:
        return combine(*self.probabilities).probability  # 1 - keep_rate without cancellation

    def kept_and_dropped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Every unit's output in x's dtype if it survives, and if it does not (both are the latter if none can)."""
        activation = activation_named(self.activation)
        y = activation(x) if self.placement == "after" else x
        if self.scaled:
            for p in self.probabilities:
                y = y * (1 / (1 - p) if p < 1 else 0.0)
        elif self.keep_rate == 0:
            y = torch.zeros_like(y)
        nothing = torch.zeros_like(y)
        return (y, nothing) if self.placement == "after" else (activation(y), activation(nothing))

    def expected(self, x: Tensor, wide: torch.dtype) -> Expected:
        keep, drop = self.keep_rate, self.drop_rate
        kept, dropped = (value.to(wide) for value in self.kept_and_dropped(x))
        if not kept.isfinite().all():  # ten dropouts of .9999 scale by 1e40, beyond float32, but the mean is still x
            kept = torch.where(kept.isfinite(), kept, self.kept_and_dropped(x.to(wide))[0])
        return Expected(
            keep_rate=torch.full_like(kept, keep),
            kept=kept,
            dropped=dropped,
            mean=keep * kept + drop * dropped,
            variance=keep * drop * (kept - dropped) ** 2,
        )


def _checked(probabilities: object, activation: object, placement: object, scaled: bool) -> _Experiment:
    if placement not in ("before", "after"):
        kind = TypeError if not isinstance(placement, str) else ValueError
        raise kind(f"placement must be 'before' or 'after' (the activation), got {placement!r}")
    activation_named(activation)
    return _Experiment(checked_probabilities(probabilities), str(activation), placement, scaled)


def _checked_units(x: object) -> Tensor:
    """x as a detached floating-point tensor of at least 32 bits."""
    try:
        units = torch.as_tensor(x).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"x must be a tensor of numbers, got {type(x).__name__}") from error
    if units.is_complex() or units.dtype == torch.bool:
        raise TypeError(f"x must hold real numbers, got {units.dtype}")
    if not units.is_floating_point():
        units = units.to(torch.get_default_dtype())
    if units.dtype not in (torch.float32, torch.float64):
        units = units.to(torch.float32)
    if not units.isfinite().all():
        count = int((~units.isfinite()).sum())
        raise ValueError(f"x must be finite, got {count} of {units.numel()} numbers that are NaN or infinite")
    return units


def _masks(
    probabilities: tuple[float, ...], shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """True where a unit survives. Uniform numbers u and mask = u >= p: of two probabilities the higher one drops what
    the lower one drops and more, which is what moving a slider should look like."""
    mask = torch.ones(shape, dtype=torch.bool, device=generator.device)
    for p in probabilities:
        mask &= torch.rand(shape, generator=generator, dtype=dtype, device=generator.device) >= p
    return mask


def _wide(device: torch.device) -> torch.dtype:
    """The dtype for statistics: MPS knows no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _returned(result: Expected, dtype: torch.dtype) -> Expected:
    return Expected(**{name: value.to("cpu", dtype) for name, value in vars(result).items()})


def expected(
    x: Tensor,
    probabilities: float | Iterable[float],
    activation: str = "relu",
    placement: Placement = "after",
    *,
    scaled: bool = True,
) -> Expected:
    """The exact mean and variance of every unit under dropout; ``scaled=False`` leaves out the factor 1 / (1 - p).

    Arguments and errors as for `simulate`.
    """
    experiment = _checked(probabilities, activation, placement, scaled)
    units = _checked_units(x).cpu()
    return _returned(experiment.expected(units, torch.float64), units.dtype)


def simulate(
    x: Tensor,
    probabilities: float | Iterable[float],
    activation: str = "relu",
    placement: Placement = "after",
    num_samples: int = 1000,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> Simulation:
    """Drop units of ``x`` at random ``num_samples`` times and compare with what theory says.

    The same seed gives the same masks for both placements and every activation (on the same kind of device).

    Parameters
    ----------
    x
        The units: a tensor of any shape, finite. Results have its shape and dtype (integers become floats).
    probabilities
        The chance to be dropped, or several for dropouts in a row with independent masks.
    activation
        A name out of `ACTIVATIONS`.
    placement
        Dropout "before" or "after" the activation.
    num_samples
        How many masks.
    seed
        Of the masks. The global random state is not touched.
    device
        Where to compute; by default a GPU when there is one. Results are on the CPU.

    Raises
    ------
    TypeError, ValueError
        If a probability is outside [0, 1] or NaN, x is no tensor of finite numbers, or a name is unknown.
    """
    experiment = _checked(probabilities, activation, placement, True)
    units = _checked_units(x)
    num_samples = checked_count(num_samples, "num_samples")
    seed = checked_seed(seed)
    chosen = choose_device(device, torch.float64)
    wide = _wide(chosen)
    dtype = units.dtype if chosen.type != "mps" else torch.float32
    units = units.to(chosen, dtype)
    generator = torch.Generator(chosen).manual_seed(seed)

    exact = experiment.expected(units, wide)
    num_kept = torch.zeros(units.shape, dtype=torch.int64, device=chosen)
    total = torch.zeros(units.shape, dtype=wide, device=chosen)
    squares = torch.zeros_like(total)
    # Deviations from the first sample: constant outputs (p = 0, p = 1) come out exactly, without rounding.
    origin = torch.zeros_like(total)

    def add(start: int, count: int) -> None:
        state = generator.get_state()
        try:
            masks = _masks(experiment.probabilities, (count, *units.shape), generator, wide)
            outputs = torch.where(masks, exact.kept, exact.dropped)
            first = outputs[0] if start == 0 else origin
            deviations = outputs - first
            sums = masks.sum(0), deviations.sum(0), deviations.square().sum(0)
        except Exception:
            generator.set_state(state)
            raise
        origin.copy_(first)
        for accumulator, part in zip((num_kept, total, squares), sums, strict=True):
            accumulator.add_(part)

    in_chunks(add, num_samples, max(1, _CHUNK_NUMBERS // max(1, units.numel())))

    n = num_samples
    bernoulli = experiment.keep_rate * experiment.drop_rate  # the variance of "survives", 0 or 1
    spread = (exact.kept - exact.dropped).square()
    if n > 1:
        variance = ((squares - total.square() / n) / (n - 1)).clamp(min=0)
        variance_of_variance = bernoulli * (1 - 3 * bernoulli - bernoulli * (n - 3) / (n - 1)) / n
        variance_error = spread * math.sqrt(max(0.0, variance_of_variance))
    else:
        variance = variance_error = torch.full_like(total, torch.nan)
    fields = {
        "keep_rate": num_kept.to(wide) / n,
        "keep_rate_exact": exact.keep_rate,
        "keep_rate_standard_error": torch.full_like(total, math.sqrt(bernoulli / n)),
        "mean": origin + total / n,
        "mean_exact": exact.mean,
        "mean_standard_error": (exact.variance / n).sqrt(),
        "variance": variance,
        "variance_exact": exact.variance,
        "variance_standard_error": variance_error,
    }
    return Simulation(**{name: value.to("cpu", dtype) for name, value in fields.items()}, num_samples=n)


def draw_masks(
    shape: Iterable[int], probabilities: float | Iterable[float], num_samples: int = 100, seed: int = 0
) -> Bool[Tensor, "sample *unit"]:
    """The masks alone: True where a unit of that shape survives; the same ones as `draw` uses.

    Arguments and errors as for `simulate`.
    """
    chances = checked_probabilities(probabilities)
    generator = torch.Generator().manual_seed(checked_seed(seed))
    return _masks(chances, (checked_count(num_samples, "num_samples"), *shape), generator, torch.float64)


def draw(
    x: Tensor,
    probabilities: float | Iterable[float],
    activation: str = "relu",
    placement: Placement = "after",
    num_samples: int = 100,
    seed: int = 0,
    *,
    scaled: bool = True,
) -> Draws:
    """Single samples with their masks; ``scaled=False`` leaves out the factor 1 / (1 - p).

    The same seed gives the same masks for every activation, placement and scaling. Keeps all samples in memory: meant
    for toy tensors. Arguments and errors as for `simulate`.
    """
    experiment = _checked(probabilities, activation, placement, scaled)
    units = _checked_units(x).cpu()
    num_samples = checked_count(num_samples, "num_samples")
    masks = draw_masks(units.shape, experiment.probabilities, num_samples, seed)
    values = torch.where(masks, *experiment.kept_and_dropped(units))
    exact = experiment.expected(units, torch.float64)
    counts = torch.arange(1, num_samples + 1, dtype=torch.float64).reshape(-1, *[1] * units.ndim)
    return Draws(
        masks=masks,
        values=values,
        totals=values.double().reshape(num_samples, -1).sum(1).to(units.dtype),
        running_mean=(values.double().cumsum(0) / counts).to(units.dtype),
        running_standard_error=(exact.variance / counts).sqrt().to(units.dtype),
        expected=_returned(exact, units.dtype),
    )
