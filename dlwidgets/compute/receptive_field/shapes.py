"""The layout of results of common ops, computed here: PyTorch's own kernels for shapes cost more than a real forward.

Whatever does not look entirely ordinary is left to PyTorch: `quick_layout` then answers None.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .operations import Operation

Layout = tuple[tuple[int, ...], tuple[int, ...], int, torch.dtype]

UNARY = {
    *("relu", "sigmoid", "tanh", "gelu", "silu", "hardtanh", "clamp", "leaky_relu", "elu", "hardswish", "mish"),
    *("hardsigmoid", "exp", "log", "sqrt", "rsqrt", "neg", "abs", "softplus", "clamp_min", "clamp_max"),
}
BINARY = {"add", "sub", "mul", "div", "maximum", "minimum"}


def quick_layouts(op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Layout, ...] | None:
    """Shape, strides, offset and dtype of the results of an ordinary call, None if it is not one."""
    if op.name == "native_batch_norm":
        return None if kwargs else _batch_norm(*args)
    layout = _quick_layout(op, args, kwargs)
    return None if layout is None else (layout,)


def _quick_layout(op: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Layout | None:
    first = args[0] if args else None
    if kwargs or not isinstance(first, Tensor) or not first.dtype.is_floating_point:
        return None
    if op.name in UNARY:
        if all(not isinstance(item, Tensor) for item in args[1:]):
            return _like(first)
    elif op.name in BINARY and len(args) == 2:
        second = args[1]
        if isinstance(second, (int, float)):
            return _like(first)
        same = isinstance(second, Tensor) and second.dtype == first.dtype
        if same and second.shape == first.shape and second.stride() == first.stride():
            return _like(first)
    elif op.name == "convolution":
        return _convolution(*args)
    return None


def _like(tensor: Tensor) -> Layout | None:
    return (tuple(tensor.shape), tensor.stride(), 0, tensor.dtype) if tensor.is_contiguous() else None


def contiguous(shape: tuple[int, ...], dtype: torch.dtype) -> Layout:
    """The layout of a new tensor in row-major order."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return shape, tuple(reversed(strides)), 0, dtype


def _batch_norm(x: Tensor, *rest: Any) -> tuple[Layout, ...] | None:
    """The result and two statistics, which are empty where running ones are used."""
    of_channels = [item for item in rest[:4] if item is not None]
    num_channels = x.shape[1] if x.dim() >= 2 else -1
    ordinary = all(tuple(item.shape) == (num_channels,) and item.dtype == x.dtype for item in of_channels)
    layout = _like(x)
    if layout is None or not ordinary or not x.dtype.is_floating_point or x.numel() == 0:
        return None
    statistics = contiguous((num_channels if rest[4] else 0,), x.dtype)
    return layout, statistics, statistics


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],  # noqa: ARG001
    groups: int,
) -> Layout | None:
    num_axes = weight.dim() - 2
    ordinary = (
        not transposed
        and num_axes >= 1
        and x.dim() == num_axes + 2
        and x.dtype == weight.dtype
        and (bias is None or (bias.dtype == x.dtype and tuple(bias.shape) == (weight.shape[0],)))
        and x.shape[1] == weight.shape[1] * groups
        and weight.shape[0] % groups == 0
        and len(stride) == len(padding) == len(dilation) == num_axes
        and x.is_contiguous()
        and min(stride) > 0
    )
    if not ordinary:
        return None
    sizes = [
        (x.shape[a + 2] + 2 * padding[a] - dilation[a] * (weight.shape[a + 2] - 1) - 1) // stride[a] + 1
        for a in range(num_axes)
    ]
    if min(sizes) < 1 or x.numel() == 0:
        return None
    return contiguous((x.shape[0], weight.shape[0], *sizes), x.dtype)
