"""What the layers of a model answer to an input: the pictures of units that the viewer shows."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from dlwidgets.compute import observe
from dlwidgets.compute.randomness import without_draws
from dlwidgets.compute.structure import structural_copy

Key = tuple[str, int] | None
"""Which output: (module name, call), or None for the model's own."""


def activations(
    model: nn.Module,
    arguments: tuple[Any, ...],
    axes_of: Callable[[int], tuple[int, ...]],
    wanted: Key | str = "all",
) -> dict[Key, Float32[Tensor, "..."]]:
    """The first tensor of the outputs of one run, by (module name, call) and None for the model's.

    Args:
        model: a copy of it is run, so neither its tensors nor its modules change.
        arguments: what to call it with, copied to the device of its parameters.
        axes_of: the axes of positions of a tensor with so many axes.
        wanted: which output to keep, or "all".

    Returns:
        For each output sample 0 on the CPU, its axes of positions last. The others come first, if only one output is
        ``wanted``; of "all" the mean over them is kept, because a large network has more numbers than memory.
    """
    model = structural_copy(model, own_parameters=True)  # a forward may write into its parameters
    names = {id(module): name for name, module in model.named_modules()}
    calls: Counter[str] = Counter()
    kept: dict[Key, Tensor] = {}

    def keep(key: Key, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is None or wanted not in ("all", key):
            return
        axes = axes_of(tensor.ndim)
        if tensor.ndim == 0 or max(axes, default=0) >= tensor.ndim or tensor.numel() == 0:
            return
        others = [axis - 1 for axis in range(1, tensor.ndim) if axis not in axes]
        sample = tensor.detach()[0].permute(*others, *(axis - 1 for axis in axes))
        sample = (sample.abs() if sample.is_complex() else sample).float()
        kept[key] = (sample.mean(tuple(range(len(others)))) if others and wanted == "all" else sample).cpu()

    def after(module: nn.Module, _: Any, output: Any) -> None:
        name = names.get(id(module))
        if name is not None:
            keep((name, calls[name]), output)
            calls[name] += 1

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    moved = tree_map(lambda each: each.to(device, copy=True) if isinstance(each, Tensor) else each, arguments)

    def run() -> Any:
        kept.clear()
        calls.clear()
        with observe.forwards(after=after):
            return model(*moved)

    keep(None, without_draws(run, partial(model, *moved)))
    return kept


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor inside nested tuples, lists, dicts and dataclasses; None if there is none."""
    if isinstance(output, Tensor):
        return output
    inside: Any = ()
    if isinstance(output, Mapping):
        inside = output.values()
    elif isinstance(output, list | tuple):
        inside = output
    elif is_dataclass(output):
        inside = [getattr(output, each.name) for each in fields(output)]
    return next((found for found in map(first_tensor, inside) if found is not None), None)


def unit_picture(
    activation: Tensor | None, channel: int | None, at: tuple[int, ...], sizes: tuple[int, ...]
) -> Float32[Tensor, "height width"]:
    """One plane of an activation over the last two of its axes of positions, at ``at`` on those before.

    ``channel`` is an index on the first axis that is none of positions, and what else there is is averaged. Zeros of
    the right ``sizes`` if there is no activation.
    """
    height, width = (1, 1, *sizes)[-2:]
    if activation is None:
        return torch.zeros(height, width)
    if channel is not None:
        activation = activation[channel]
    while activation.ndim > len(sizes):
        activation = activation.mean(0)
    return activation[tuple(at)].reshape(height, width).contiguous()
