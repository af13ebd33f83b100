"""A second set of module objects around the same tensors, so that the user's own are never touched."""

import copy
import sys
from collections import OrderedDict
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


def structural_copy(model: nn.Module, training: bool | None = None, *, own_parameters: bool = False) -> nn.Module:
    """Copy the module objects of ``model``, share (or clone) its parameters and clone its buffers.

    Whatever happens to the copy's modes, hooks or running statistics leaves the model alone, also while another thread
    trains it. References between its modules (shared ones, lists of them, bound methods) lead to the copies; anything
    else that a module holds (a data set, a trainer) is shared. Costs no memory worth naming.

    Args:
        model: any module. A scripted one cannot be taken apart, so its parameters are cloned too; what
            ``torch.compile`` made is replaced by what it was made from.
        training: None keeps every module's mode; True or False sets the copy's.
        own_parameters: clone the parameters as well, for a model whose forward may write into them.

    Raises:
        TypeError: ``model`` is no ``nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    swap: dict[int, Any] = {}
    for module in model.modules():
        scripted = isinstance(module, torch.jit.ScriptModule)
        swap[id(module)] = copy.deepcopy(module) if scripted else object.__new__(type(module))
    for tensor in (*model.buffers(), *(model.parameters() if own_parameters else ())):
        swap[id(tensor)] = _clone(tensor)
    for module in model.modules():
        if _is_compiled(module):
            swap[id(module)] = swap[id(module._orig_mod)]
    for module in model.modules():
        if not isinstance(module, torch.jit.ScriptModule) and not _is_compiled(module):
            attributes = {name: _swapped(value, swap) for name, value in module.__dict__.items()}
            attributes.pop("_compiled_call_impl", None)  # of module.compile(): it would run the original
            swap[id(module)].__dict__.update(attributes)
    copied: nn.Module = swap[id(model)]
    return copied if training is None else copied.train(training)


def _is_compiled(module: nn.Module) -> bool:
    # Another thread may just be importing it: then nothing can have been compiled yet.
    kind = getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", None)
    return kind is not None and isinstance(module, kind)


def _clone(tensor: Tensor) -> Tensor:
    return copy.deepcopy(tensor) if isinstance(tensor, nn.Parameter) else tensor.detach().clone()


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
