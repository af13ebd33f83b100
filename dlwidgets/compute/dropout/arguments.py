"""What may be passed: one sentence for everything that may not."""

from collections.abc import Iterable, Mapping
from numbers import Integral, Real

import torch
from torch import nn


def checked_probability(value: object, name: str = "probability") -> float:
    """``value`` as a float in [0, 1].

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it lies outside [0, 1] or is NaN.
    """
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex() and value.dtype != torch.bool:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number from 0 to 1, got {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must lie from 0 to 1, got a number beyond every float") from None
    if not 0 <= number <= 1:  # false for NaN too
        raise ValueError(f"{name} must lie from 0 to 1, got {number!r}")
    return number


def checked_probabilities(values: object, name: str = "probabilities") -> tuple[float, ...]:
    """One probability or several in a row, as a tuple of floats; raises as `checked_probability` does."""
    if isinstance(values, torch.Tensor) and values.ndim > 0:
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Iterable) or isinstance(values, torch.Tensor):
        return (checked_probability(values, name),)
    return tuple(checked_probability(value, f"{name}[{index}]") for index, value in enumerate(values))


def checked_count(value: object, name: str) -> int:
    """``value`` as an int of at least 1; TypeError where it is no integer, ValueError where it is smaller."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r} of type {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def checked_seed(value: object) -> int:
    """``value`` as a seed that every generator accepts; TypeError where it is no integer."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"seed must be a whole number, got {value!r} of type {type(value).__name__}")
    return int(value) % 2**63


def checked_model(model: object) -> nn.Module:
    """``model``, without the wrapper of ``torch.compile``, if its code can be watched.

    Raises
    ------
    TypeError
        If it is no module.
    ValueError
        If it is TorchScript or has lazy modules.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    plain: nn.Module = getattr(model, "_orig_mod", model)
    if any(isinstance(part, torch.jit.ScriptModule) for part in plain.modules()):
        raise ValueError("model must be a Python module: in TorchScript dropout cannot be seen")
    if any(nn.parameter.is_lazy(tensor) for tensor in (*plain.parameters(), *plain.buffers())):
        raise ValueError("model has lazy modules without parameters: call it once on its inputs first")
    return plain


def checked_inputs(inputs: object) -> object:
    """``inputs`` if a model can be called with them, else TypeError."""
    if not isinstance(inputs, (torch.Tensor, tuple)) and not (
        isinstance(inputs, Mapping) and all(isinstance(name, str) for name in inputs)
    ):
        raise TypeError(
            "inputs must be a tensor, a tuple of positional arguments or a dict of keyword arguments, "
            f"got {type(inputs).__name__}"
        )
    return inputs
