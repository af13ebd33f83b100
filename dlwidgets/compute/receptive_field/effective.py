"""The effective field: how much each input position really weighs, with the model's own weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..context import Context, tick
from ..observe import undisturbed
from .arguments import checked_model, checked_position
from .results import LayerKey, Target
from .running import Calls, first_tensor, versions_kept
from .tracing import Trace, trace

SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, eq=False)
class EffectiveField:
    """How much the input positions contribute to a unit.

    ``contribution`` (float64, over the input axes) sums to 1, or is all 0 where no input gives the unit a gradient.
    ``areas`` says for the shares .5, .9 and .99 the fewest positions that together reach that share; 0 where there is
    no contribution. ``num_inputs`` is the number of inputs averaged over.
    """

    contribution: Float[Tensor, " *axes"]
    areas: Mapping[float, int]
    num_inputs: int


def effective_receptive_field(
    model: nn.Module,
    inputs: Any,
    unit: Any,
    *,
    layer: LayerKey = None,
    channel: int | None = None,
    axes: tuple[int, ...] | None = None,
    context: Context | None = None,
) -> EffectiveField:
    """The mean over inputs of the absolute gradient of a unit, summed over the input's channels, normalised to sum 1.

    Parameters
    ----------
    model
        It is run in its present mode and comes out bitwise as it went in.
    inputs
        A tensor whose first axis counts the inputs, or an iterable of inputs as `trace` takes them: tensors with a
        batch axis, or tuples of positional arguments. Every sample of a batch counts as one input. Samples run one by
        one, but for a model with modules in train mode, whose batches stay together.
    unit
        One int per output axis, negatives from the end, as for `Trace.field`.
    layer, axes
        As for `Trace.field` and `trace`.
    channel
        One channel of the output. None takes the gradient of the sum over all channels, as Luo et al. do.
    context
        Receives progress after each input and may cancel.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If there is no input, if the first input is not floating-point, if the model cannot run, or if layer, unit or
        channel do not exist.
    Cancelled
        If the context says so.

    Notes
    -----
    Luo, Li, Urtasun, Zemel: Understanding the Effective Receptive Field in Deep Convolutional Neural Networks, NeurIPS
    2016. A unit through which no gradient passes (behind a detach, a sign, an argmax) has contribution 0 everywhere.
    """
    return field_of_outputs(model, inputs, unit, layer=layer, channel=channel, axes=axes, context=context)


def field_of_outputs(
    model: nn.Module,
    inputs: Any,
    unit: Any,
    *,
    layer: LayerKey = None,
    channel: int | None = None,
    axes: tuple[int, ...] | None = None,
    output_axes: tuple[int, ...] | None = None,
    context: Context | None = None,
) -> EffectiveField:
    """`effective_receptive_field` with the ``output_axes`` of `Trace.field`."""
    checked_model(model)
    # Normalisation over the batch needs the batch as it is; otherwise the samples are independent.
    together = any(module.training for module in model.modules())
    batches = [batch for batch in checked_inputs(inputs) for batch in ([batch] if together else single_samples(batch))]
    net = _traced(model, batches[0], axes)
    target = net.target(layer, channel, output_axes)
    position = checked_position("unit", unit, target.sizes)
    total = torch.zeros(net.input_sizes, dtype=torch.float64)
    num_inputs = sum(batch[0].shape[0] for batch in batches)
    done = 0
    first = partial(_gradient, model, batches[0], 0, target, position)
    with versions_kept([*model.parameters(), *model.buffers()]), undisturbed(model, first) as draws:
        for batch in batches:
            for sample in range(batch[0].shape[0]):
                tick(context, done / num_inputs, f"input {done + 1} of {num_inputs}")
                gradient = _gradient(model, batch, sample, target, position)
                if done == 0 and draws.found_out():
                    gradient = first()
                if gradient is not None:
                    total += _over_axes(gradient, sample, net.axes)
                done += 1
    tick(context, 1.0, f"{num_inputs} inputs")
    weight = total.sum()
    if weight > 0:
        total = total / weight
    return EffectiveField(total, {share: _area(total, share) for share in SHARES}, num_inputs)


def checked_inputs(inputs: Any) -> list[tuple[Any, ...]]:
    """Tuples of positional arguments, each with a batch axis."""
    if isinstance(inputs, Tensor) or (isinstance(inputs, tuple) and inputs and isinstance(inputs[0], Tensor)):
        inputs = [inputs]
    elif isinstance(inputs, (str, bytes, Mapping)) or not isinstance(inputs, Iterable):
        raise TypeError(f"inputs must be a tensor or an iterable of tensors or tuples, got {type(inputs).__name__}")
    found = []
    for item in inputs:
        arguments = item if isinstance(item, tuple) else (item,)
        if not arguments or not isinstance(arguments[0], Tensor):
            raise TypeError(f"inputs must hold tensors or tuples that begin with one, got {type(item).__name__}")
        if arguments[0].dim() == 0:
            raise ValueError("inputs must have a batch axis, got a tensor without axes")
        if not arguments[0].is_floating_point():
            raise ValueError(f"inputs must be floating-point to have gradients, got {arguments[0].dtype}")
        if not arguments[0].isfinite().all():
            raise ValueError("inputs must be finite numbers, got NaN or infinity")
        if arguments[0].numel():
            found.append(arguments)
    if not found:
        raise ValueError("inputs must hold at least one input, got none")
    return found


def _traced(model: nn.Module, arguments: tuple[Any, ...], axes: tuple[int, ...] | None) -> Trace:
    """The trace of the first inputs; if the model cannot run on them, the error says so of ``inputs``."""
    try:
        return trace(model, arguments, axes)
    except ValueError as error:
        if error.__cause__ is None:
            raise
        raise ValueError(str(error).replace("example", "inputs", 1)) from error.__cause__


def single_samples(arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """A batch taken apart."""
    size = arguments[0].shape[0]
    return [
        tuple(
            part[sample : sample + 1] if isinstance(part, Tensor) and part.dim() and part.shape[0] == size else part
            for part in arguments
        )
        for sample in range(size)
    ]


def _gradient(
    model: nn.Module, arguments: tuple[Any, ...], sample: int, target: Target, unit: tuple[int, ...]
) -> Tensor | None:
    """The gradient of a unit of one sample with respect to the first input; None if none passes."""
    leaf = arguments[0].detach().clone().requires_grad_()
    rest = [part.detach().clone() if isinstance(part, Tensor) else part for part in arguments[1:]]
    with torch.enable_grad():
        # In-place code may not write on a leaf, and a layer's output may be written to by the next.
        calls = Calls(model, lambda tensor: tensor.view_as(tensor).clone())
        with calls.watching(model):
            output = first_tensor(model(leaf.clone(), *rest))
        if target.call is not None:
            outputs: dict[tuple[str, int], Any] = {(call.name, call.call): call.value for call in calls.calls}
            output = outputs.get(target.call)
        if output is None or not output.requires_grad:
            return None
        picked = output[target.index(unit, sample)].sum()
        (gradient,) = torch.autograd.grad(picked.real if picked.is_complex() else picked, leaf, allow_unused=True)
    return None if gradient is None else gradient.detach()


def _over_axes(gradient: Tensor, sample: int, axes: tuple[int, ...]) -> Tensor:
    """The absolute gradient of one sample over the axes of positions, summed over the others."""
    size = torch.nan_to_num(gradient.double().abs().cpu(), nan=0.0, posinf=0.0, neginf=0.0)
    if 0 not in axes:
        size = size[sample : sample + 1]
    others = tuple(axis for axis in range(size.dim()) if axis not in axes)
    size = size.sum(others) if others else size
    rank = {axis: index for index, axis in enumerate(sorted(axes))}
    return size.permute([rank[axis] for axis in axes])


def _area(contribution: Tensor, share: float) -> int:
    """The fewest positions that together reach ``share`` of a contribution that sums to 1."""
    if not contribution.any():
        return 0
    ordered = contribution.flatten().sort(descending=True).values.cumsum(0)
    return int((ordered < share * ordered[-1] * (1 - 1e-12)).sum()) + 1
