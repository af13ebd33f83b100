"""A second set of module objects around the same tensors, so that the user's own are never touched."""

from collections import OrderedDict
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


def structural_copy(model: nn.Module, training: bool | None = None) -> nn.Module:
    """Copy the module objects of ``model``, share its parameters and clone its buffers.

    Whatever happens to the copy's modes, hooks or running statistics leaves the model alone, also while another thread
    trains it. References between its modules (shared ones, lists of them, bound methods) lead to the copies; anything
    else that a module holds (a data set, a trainer) is shared. Costs no memory worth naming.

    Args:
        model: any module. A scripted one cannot be taken apart and is returned itself, unless ``training`` is given.
        training: None keeps every module's mode; True or False sets the copy's.

    Raises:
        TypeError: ``model`` is no ``nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        return model if training is None else model.copy().train(training)
    swap: dict[int, Any] = {}
    for module in model.modules():
        swap[id(module)] = module if isinstance(module, torch.jit.ScriptModule) else object.__new__(type(module))
    for buffer in model.buffers():
        swap[id(buffer)] = buffer.detach().clone()
    for module in model.modules():
        copy = swap[id(module)]
        if copy is not module:
            copy.__dict__.update({name: _swapped(value, swap) for name, value in module.__dict__.items()})
    copied: nn.Module = swap[id(model)]
    return copied if training is None else copied.train(training)


def _swapped(value: Any, swap: dict[int, Any], depth: int = 4) -> Any:
    """``value`` with every module and buffer in it replaced by its copy; containers of Python itself are rebuilt."""
    if isinstance(value, nn.Module | Tensor):
        return swap.get(id(value), value)
    if isinstance(value, MethodType):
        owner = swap.get(id(value.__self__))
        return value if owner is None else MethodType(value.__func__, owner)
    if depth == 0:
        return value
    if type(value) in (dict, OrderedDict):
        return type(value)((key, _swapped(item, swap, depth - 1)) for key, item in value.items())
    if type(value) in (list, tuple, set):
        return type(value)(_swapped(item, swap, depth - 1) for item in value)
    return value
