"""What the layers of a model answer to an input: the pictures of units that the viewer shows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from dlwidgets.compute import observe

Key = tuple[str, int] | None
"""Which output: (module name, call), or None for the model's own."""


def activations(model: nn.Module, arguments: tuple[Any, ...], wanted: Key | str = "all") -> dict[Key, Tensor]:
    """The first tensor of the outputs of one run, by (module name, call) and None for the model's.

    Args:
        model: run as it is, so hand over a `structural_copy`; in train mode its own running statistics move.
        arguments: what to call it with; moved to the device of its parameters.
        wanted: which output to keep, or "all". Of "all" only sample 0 is kept, the mean over axis 1 and on the CPU.
    """
    names = {id(module): name for name, module in model.named_modules()}
    calls: Counter[str] = Counter()
    kept: dict[Key, Tensor] = {}

    def keep(key: Key, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is None or wanted not in ("all", key):
            return
        tensor = tensor.detach()[:1] if tensor.ndim else tensor.detach()
        tensor = torch.view_as_real(tensor).norm(dim=-1) if tensor.is_complex() else tensor
        mean = tensor.ndim > 2 and wanted == "all"
        kept[key] = (tensor.float().mean(1, keepdim=True) if mean else tensor.float()).cpu()

    def after(module: nn.Module, _: Any, output: Any) -> None:
        name = names.get(id(module))
        if name is not None:
            keep((name, calls[name]), output)
            calls[name] += 1

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    moved = tuple(each.to(device) if isinstance(each, Tensor) else each for each in arguments)
    cuda = [device.index or 0] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=cuda), observe.forwards(after=after):
        output = model(*moved)
    keep(None, output)
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
    activation: Tensor | None, axes: tuple[int, ...], channel: int | None, at: tuple[int, ...], sizes: tuple[int, ...]
) -> Float32[Tensor, "height width"]:
    """One plane of an activation: sample 0, over the last two of its position ``axes``, at ``at`` on those before.

    ``channel`` is an index on its first other axis after the batch; None, and all further axes, are averaged. Zeros
    of the right ``sizes`` if there is no activation.
    """
    height, width = (1, 1, *sizes)[-2:]
    if activation is None or activation.ndim <= max(axes, default=0):
        return torch.zeros(height, width)
    others = [axis for axis in range(1, activation.ndim) if axis not in axes]
    plane = activation[0].permute(*[axis - 1 for axis in (*others, *axes)]) if activation.ndim else activation
    if channel is not None and others:
        plane = plane[channel if channel < plane.shape[0] else 0]
        others = others[1:]
    plane = plane.mean(tuple(range(len(others)))) if others else plane
    plane = plane[tuple(at)] if at else plane
    return plane.reshape(height, width).contiguous()
