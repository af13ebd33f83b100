"""Checks of what a caller hands in, with one clear sentence for what is wrong."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def checked_model(model: Any) -> None:
    """A model must be a module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if any(is_lazy(item) for item in (*model.parameters(), *model.buffers())):
        raise ValueError("model has lazy parameters without a shape: run it once on real data first")


def checked_position(name: str, position: Any, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """A position with one int per axis, counted from the start."""
    if isinstance(position, Tensor):
        position = tuple(position.tolist()) if position.dim() == 1 else position
    if isinstance(position, np.ndarray) and position.ndim == 1:
        position = tuple(position.tolist())
    if not isinstance(position, (tuple, list)):
        raise TypeError(f"{name} must be a tuple of {len(sizes)} ints, got {type(position).__name__}")
    numbers = [integer(name, item, f"a tuple of {len(sizes)} ints") for item in position]
    if len(numbers) != len(sizes):
        raise ValueError(f"{name} must have {len(sizes)} ints, one per axis of sizes {sizes}, got {tuple(numbers)}")
    for number, size in zip(numbers, sizes, strict=True):
        if not -size <= number < size:
            raise ValueError(f"{name} {tuple(numbers)} is out of range for sizes {sizes}")
    return tuple(number % size for number, size in zip(numbers, sizes, strict=True))


def checked_axes(name: str, axes: Any, num_dims: int) -> tuple[int, ...]:
    """Different axes of a tensor with ``num_dims`` of them, counted from the start."""
    if not isinstance(axes, (tuple, list)):
        raise TypeError(f"{name} must be a tuple of ints, got {type(axes).__name__}")
    numbers = [integer(name, item, "a tuple of ints") for item in axes]
    if any(not -num_dims <= number < num_dims for number in numbers):
        raise ValueError(f"{name} {tuple(numbers)} is out of range for a tensor with {num_dims} axes")
    found = tuple(number % num_dims for number in numbers)
    if len(set(found)) != len(found):
        raise ValueError(f"{name} must be different axes, got {tuple(numbers)}")
    return found


def integer(name: str, item: Any, expected: str = "an int") -> int:
    if isinstance(item, (bool, np.bool_)):
        raise TypeError(f"{name} must be {expected}, got {type(item).__name__}")
    try:
        return operator.index(item)
    except TypeError:
        raise TypeError(f"{name} must be {expected}, got {type(item).__name__}") from None


def checked_example(model: nn.Module, example: Any) -> tuple[Any, ...]:
    if isinstance(example, Tensor):
        example = (example,)
    if isinstance(example, torch.Size) or (
        isinstance(example, tuple) and example and all(type(item) is int for item in example)
    ):
        if any(size < 1 for size in example):
            raise ValueError(f"example must be a shape of positive sizes, got {tuple(example)}")
        parameters = [item for item in model.parameters() if item.is_floating_point()]
        dtype = parameters[0].dtype if parameters else torch.get_default_dtype()
        device = parameters[0].device if parameters else torch.device("cpu")
        try:
            return (torch.zeros(tuple(example), dtype=dtype, device=device),)
        except (RuntimeError, TypeError) as error:  # more numbers than memory, or than an int64 can count
            raise ValueError(f"example of shape {tuple(example)} does not fit into memory") from error
    if isinstance(example, tuple):
        first = next((item for item in example if isinstance(item, Tensor)), None)
        if first is None and example:
            kinds = ", ".join(dict.fromkeys(type(item).__name__ for item in example))
            raise TypeError(f"example must hold a tensor, or be a shape of ints alone, got a tuple of {kinds}")
        if first is None:
            raise ValueError("example must hold a tensor, got an empty tuple")
        if first.numel() == 0:
            raise ValueError(f"example must not be empty, got shape {tuple(first.shape)}")
        return example
    raise TypeError(
        "example must be a tensor, a tuple of positional arguments or a shape including the batch, "
        f"got {type(example).__name__}"
    )
