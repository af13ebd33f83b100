"""Padding, moving, indexing, reshaping, writing in place: small architectures to examine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from receptive_field_zoo import Fn, Zoo
from torch import Tensor, nn

LAYOUT = Zoo()
add, fn = LAYOUT.add, LAYOUT.fn


def mixed(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    """A convolution, then ``function``, then another convolution: the op in the middle of a network."""
    return lambda: Fn(lambda m, x: m.b(function(m.a(x))), a=nn.Conv2d(1, 2, 3, padding=1), b=nn.Conv2d(2, 1, 2))


for mode in ("constant", "reflect", "replicate", "circular"):
    fn(f"pad {mode}", partial(F.pad, pad=(1, 2, 2, 0), mode=mode), (1, 1, 4, 5))
    add(f"pad {mode} inside", mixed(partial(F.pad, pad=(2, 1, 0, 1), mode=mode)), (1, 1, 4, 5))
fn("crop by negative padding", lambda x: F.pad(x, (-1, 2, 0, -2)), (1, 1, 5, 5))
fn("reflect 3-D", lambda x: F.pad(x, (1, 1, 1, 0, 0, 1), mode="reflect"), (1, 1, 3, 3, 3))
fn("roll", lambda x: x.roll((1, -2), (2, 3)), (1, 1, 4, 5))
fn("roll flat", lambda x: x.roll(3), (1, 1, 3, 4))
fn("flip", lambda x: x.flip(3), (1, 1, 3, 4))
fn("rot90", lambda x: torch.rot90(x, 1, (2, 3)), (1, 1, 3, 4))
fn("transpose", lambda x: x.transpose(2, 3).contiguous(), (1, 2, 3, 5))
fn("slice with a step", lambda x: x[:, :, 1::2, -4:-1], (1, 1, 6, 6))
fn("narrow, select, unsqueeze", lambda x: x.narrow(2, 1, 3).select(3, 2).unsqueeze(-1), (1, 1, 5, 4))
fn("index_select", lambda x: x.index_select(2, torch.tensor([3, 0, 0, 4])), (1, 1, 5, 3))
fn(
    "advanced indexing",
    lambda x: x[:, :, torch.tensor([0, 2, 2]), torch.tensor([1, 0, 3])],
    (1, 1, 3, 4),
    output_axes=(2,),
)
fn("advanced indexing apart", lambda x: x[:, :, [2, 0]][..., [True, False, True, True]], (1, 1, 3, 4))
fn("gather with a constant index", lambda x: x.gather(2, torch.tensor([[[3, 0, 1, 1]]])), (1, 1, 5))
fn("take_along_dim", lambda x: torch.take_along_dim(x, torch.tensor([2, 0, 1, 4, 4]).view(1, 1, 5), 2), (1, 1, 5))
fn(
    "scatter into zeros",
    lambda x: torch.zeros(1, 1, 6, dtype=x.dtype).scatter(2, torch.tensor([[[5, 0, 2]]]), x),
    (1, 1, 3),
)
fn(
    "scatter_add",
    lambda x: torch.zeros(1, 1, 4, dtype=x.dtype).scatter_add(2, torch.tensor([[[3, 0, 3, 2, 0]]]), x),
    (1, 1, 5),
)
fn("index_add", lambda x: torch.zeros(1, 1, 3, dtype=x.dtype).index_add(2, torch.tensor([2, 0, 2, 2, 0]), x), (1, 1, 5))
fn("masked_fill", lambda x: x.masked_fill(torch.eye(4, dtype=torch.bool), 7.0), (1, 1, 4, 4))
fn("where with a constant mask", lambda x: torch.where(torch.eye(4, dtype=torch.bool), x, x.flip(3)), (1, 1, 4, 4))
fn("triu", lambda x: x.triu(1), (1, 1, 4, 4))
fn("times a mask", lambda x: x * torch.tensor([1.0, 0, 0, 2, 1]).to(x), (1, 1, 5), spreads_nan=False)
fn("diagonal", lambda x: x.diagonal(0, 2, 3), (1, 1, 4, 4), output_axes=(2,))
fn("reshape rows", lambda x: x.reshape(1, 1, 2, 10), (1, 1, 4, 5))
fn("flatten positions", lambda x: x.flatten(2), (1, 2, 3, 4))
fn("view as windows and back", lambda x: x.view(1, 1, 2, 3, 2, 2).permute(0, 1, 2, 4, 3, 5).mean((4, 5)), (1, 1, 6, 4))
fn("expand and sum", lambda x: x[..., None].expand(-1, -1, -1, 4).sum(2), (1, 1, 5), output_axes=(2,))
fn("unfold and fold", lambda x: F.fold(F.unfold(x, 2, padding=1), (4, 4), 2, padding=1), (1, 1, 4, 4))
add(
    "unfold, linear, fold",
    lambda: Fn(lambda m, x: F.fold(m.l(F.unfold(x, 2, stride=2).mT).mT, (4, 6), 2, stride=2), l=nn.Linear(4, 4)),
    (1, 1, 4, 6),
)
fn("unfold dilated", lambda x: F.unfold(x, 2, dilation=2), (1, 1, 4, 5), output_axes=(2,))
fn("diff", lambda x: x.diff(dim=2), (1, 1, 6))
fn("tile", lambda x: x.tile(1, 1, 2, 1), (1, 1, 3, 2))
fn(
    "meshgrid coordinates concatenated",
    lambda x: torch.cat([x, torch.arange(5.0).to(x).expand(1, 1, 4, 5)], 1),
    (1, 1, 4, 5),
)
fn("movedim and squeeze", lambda x: x.movedim(1, 3).squeeze(3), (1, 1, 3, 4), output_axes=(1, 2))
fn("as_strided", lambda x: x.as_strided((1, 1, 4, 3), (7, 7, 1, 2)), (1, 1, 8))

# Writing in place


def written(change: Callable[[Tensor, Tensor], Any]) -> Callable[[], nn.Module]:
    """A convolution whose output is changed in place with the help of the input."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        change(y, x)
        return m.b(y)

    return lambda: Fn(forward, a=nn.Conv2d(1, 1, 3, padding=1), b=nn.Conv2d(1, 1, 2))


def put(y: Tensor, x: Tensor) -> None:
    y[:, :, 2:4] = x[:, :, :2]


def put_scalar(y: Tensor, x: Tensor) -> None:
    y[..., 1] = 0


def put_through_view(y: Tensor, x: Tensor) -> None:
    y.view(-1)[3:9].copy_(x.flatten()[:6])


def put_masked(y: Tensor, x: Tensor) -> None:
    y[torch.eye(5, dtype=torch.bool).expand(1, 1, 5, 5)] = 1.0


for name, change in [
    ("slice assignment", put),
    ("scalar assignment", put_scalar),
    ("copy_ into a view", put_through_view),
    ("masked assignment", put_masked),
    ("add_ of the input", lambda y, x: y.add_(x.flip(3))),
    ("mul_ of a slice", lambda y, x: y[:, :, ::2].mul_(x[:, :, 1:4].sum(3, keepdim=True))),
    ("relu_", lambda y, x: F.relu_(y)),
    ("zero_ of a slice", lambda y, x: y[..., :2].zero_()),
    (
        "index_put_",
        lambda y, x: y.index_put_(
            (torch.tensor([0]), torch.tensor([0]), torch.tensor([1])), x[0, 0, 4], accumulate=True
        ),
    ),
    ("fill_ with an element", lambda y, x: y[:, :, 0].copy_(x[0, 0, 3, 3].expand(1, 1, 5))),
    ("transposed add_", lambda y, x: y.transpose(2, 3).add_(x)),
]:
    add(f"in place: {name}", written(change), (1, 1, 5, 5))
add("in place: the input itself", lambda: Fn(lambda m, x: m.a(x.mul_(x.roll(1, 2))), a=nn.Conv1d(1, 1, 2)), (1, 1, 6))
add(
    "in place: relu on a conv that is used again",
    lambda: Fn(lambda m, x: (y := m.a(x)) + F.relu(y, inplace=True) + y.roll(2, 2), a=nn.Conv1d(1, 1, 1)),
    (1, 1, 6),
)
add("in place: rows one by one", lambda: Fn(lambda m, x: _running_rows(x.clone())), (1, 1, 4, 3))


def _running_rows(y: Tensor) -> Tensor:
    for row in range(1, y.shape[2]):
        y[:, :, row] += y[:, :, row - 1].roll(1, -1)
    return y
