"""What the meter has seen, as numbers."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from .rhythm import Overhead
from .verdicts import Thresholds, Verdict


class Position(NamedTuple):
    """One call of one module in a forward pass of the whole model.

    ``module`` is the qualified name (that of ``model.named_modules()``, "" for the model itself), ``call`` counts from
    0 within one forward pass of the model, ``kind`` is the name of the module's class.
    """

    module: str
    call: int
    kind: str

    def __str__(self) -> str:
        """For example "encoder.2 (Linear), call 3"."""
        return f"{self.module or 'model'} ({self.kind})" + (f", call {self.call}" if self.call else "")


@dataclass(frozen=True, eq=False)
class SharedParameter:
    """A parameter that several positions use, and how much of its gradient each of them contributes.

    ``positions`` are indices into `GradientFlow.positions`. ``gradient_norm`` is the L2 norm of each call's own
    contribution (several backward passes add in squares), ``share`` its square over the sum of the squares: step x
    call, float64, nan where a call contributed nothing in a step, and in a step in the middle of which the parameter
    became a shared one. Where a weight is transformed once for several calls (cast by autocast, normalised) the
    contributions are to the transformed weight.
    """

    parameter: str
    positions: tuple[int, ...]
    gradient_norm: Float[Tensor, "step call"]
    share: Float[Tensor, "step call"]


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """What happened to activations, gradients and weights in the sampled steps of a training run.

    Every table is float64 on the CPU; nan marks what was not used in a step (and what is nan itself: see `nonfinite`).

    Attributes
    ----------
    steps: Int[Tensor, "step"]
        Which steps were sampled, counted from 0 since the meter was attached, int64.
    positions, parameters:
        The columns of the tables, in the order in which they were first seen. A module called 24 times has 24
        positions.
    activation_mean, activation_std: Float[Tensor, "step position"]
        Over all elements of the step's training forwards; the population's standard deviation.
    zero_fraction, saturated_fraction: Float[Tensor, "step position"]
        Share of elements that are exactly zero; whose derivative is below 1 % of its maximum (nan where the module is
        no activation function with a derivative of its own).
    dead_fraction: Float[Tensor, "step position"]
        Share of the units that were zero on every sample so far.
    gradient_norm: Float[Tensor, "step position"]
        L2 norm of dL/d(output) over all elements, batch included, as it arrives; several backward passes add in
        squares.
    parameter_gradient_norm, weight_norm: Float[Tensor, "step parameter"]
        L2 norm of the gradient as the optimizer finds it, and of the weight before the update.
    update_ratio: Float[Tensor, "step parameter"]
        ``|w_after - w_before| / |w_before|`` as really applied; 0/0 is nan.
    lost_fraction: Float[Tensor, "step parameter"]
        Share of the elements with a gradient that the update left exactly as they were: it was below one ulp of the
        weight. nan where some have not changed and the gradients, which would tell whether they should, are gone by
        the end of the step, as in most loops without an optimizer.
    dead_units: dict[int, Bool[Tensor, "unit"]]
        By position, which units were zero on every sample so far; only positions that have any.
    shared: tuple[SharedParameter, ...]
        The gradients of shared parameters, split by call.
    loss_steps, loss:
        What was given to ``log``: the step and the value of each.
    nonfinite: tuple[int, str] | None
        The first step in which anything was nan or infinite, and what it was.
    verdicts, thresholds:
        Findings with their evidence, and the limits they used.
    overhead:
        The meter's own time over the rest of the time since it was attached; ``overhead.recent`` the same of the last
        10 s.
    """

    steps: Int[Tensor, "step"]
    positions: tuple[Position, ...]
    parameters: tuple[str, ...]
    activation_mean: Float[Tensor, "step position"]
    activation_std: Float[Tensor, "step position"]
    zero_fraction: Float[Tensor, "step position"]
    saturated_fraction: Float[Tensor, "step position"]
    dead_fraction: Float[Tensor, "step position"]
    gradient_norm: Float[Tensor, "step position"]
    parameter_gradient_norm: Float[Tensor, "step parameter"]
    weight_norm: Float[Tensor, "step parameter"]
    update_ratio: Float[Tensor, "step parameter"]
    lost_fraction: Float[Tensor, "step parameter"]
    dead_units: dict[int, Bool[Tensor, "unit"]]
    shared: tuple[SharedParameter, ...]
    loss_steps: Int[Tensor, "entry"]
    loss: Float[Tensor, "entry"]
    nonfinite: tuple[int, str] | None
    verdicts: tuple[Verdict, ...]
    thresholds: Thresholds
    overhead: Overhead
