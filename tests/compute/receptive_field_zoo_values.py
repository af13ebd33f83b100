"""Integers, decisions by value, fixed and computed kernels: small architectures to examine."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from receptive_field_zoo import Fn, Zoo, integers, several
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

VALUES = Zoo()
add, fn = VALUES.add, VALUES.fn
sdpa = F.scaled_dot_product_attention

# Integers and decisions

add(
    "embedding",
    lambda: nn.Sequential(nn.Embedding(5, 3)),
    integers(5, 1, 6),
    axes=(1,),
    output_axes=(1,),
    spreads_nan=False,
)
add(
    "embedding and conv",
    lambda: Fn(lambda m, x: m.c(m.e(x).mT), e=nn.Embedding(5, 2, padding_idx=0), c=nn.Conv1d(2, 2, 3, dilation=2)),
    integers(5, 1, 8),
    axes=(1,),
    output_axes=(2,),
    spreads_nan=False,
)
add("embedding bag", lambda: nn.EmbeddingBag(5, 2), integers(5, 2, 3), axes=(1,), output_axes=(), spreads_nan=False)
add(
    "language model, causal",
    lambda: Fn(lambda m, x: m.o(sdpa(h := m.e(x), h, h, is_causal=True)), e=nn.Embedding(7, 3), o=nn.Linear(3, 7)),
    integers(7, 1, 5),
    axes=(1,),
    output_axes=(1,),
    spreads_nan=False,
)
fn("one_hot", lambda x: F.one_hot(x, 4), integers(4, 1, 5), axes=(1,), output_axes=(1,), spreads_nan=False)
fn("one_hot of argmax", lambda x: F.one_hot(x.argmax(1), 3).movedim(-1, 1), (1, 3, 4, 2), spreads_nan=False)
fn("integer arithmetic", lambda x: (x[..., 1:] * 3 + x[..., :-1]) // 2 % 5, integers(9, 1, 1, 7), spreads_nan=False)
fn("cast to int and back", lambda x: x.long().float(), (1, 1, 5), spreads_nan=False)
fn("sign and round", lambda x: x[..., 1:].sign() + x[..., :-1].round(), (1, 1, 7), spreads_nan=False)
fn("comparison with a neighbour", lambda x: x[..., 1:] > x[..., :-1], (1, 1, 7), spreads_nan=False)
fn("logical ops", lambda x: ((x > 0) & (x.roll(1, 2) < 1)) | (x.roll(2, 2) > 2), (1, 1, 7), spreads_nan=False)
fn(
    "isnan and isfinite",
    lambda x: x + x.roll(1, 2).isnan() + (~x.roll(2, 2).isfinite()),
    (1, 1, 6),
    spreads_nan=False,
    cancels=True,
)
fn("argmax over rows", lambda x: x.argmax(3), (1, 1, 3, 4), output_axes=(2,), spreads_nan=False)
fn("where by value", lambda x: torch.where(x > 0, x.roll(1, 2), x.roll(-1, 2)), (1, 1, 7), spreads_nan=False)
fn("bucketize", lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0]).to(x)), (1, 1, 5), spreads_nan=False)
fn("gather by value", lambda x: x.gather(2, x.argsort(2)), (1, 1, 5), spreads_nan=False)
fn("index by value", lambda x: torch.arange(9.0)[x], integers(9, 1, 1, 5), spreads_nan=False)
fn("masked by value", lambda x: x * (x.roll(1, 3) > 0), (1, 1, 3, 4), spreads_nan=False)
fn("detach", lambda x: x.detach().roll(1, 2) + x, (1, 1, 6), differentiable=False)
fn("no_grad inside", lambda x: _no_grad(x), (1, 1, 6), differentiable=False)
fn(
    "numpy inside",
    lambda x: torch.from_numpy(x.detach().numpy().copy()).roll(1, 2),
    (1, 1, 6),
    decidable=False,
    differentiable=False,
)
fn(
    "control flow on the sum",
    lambda x: x.roll(1, 2) if x.sum() > 0 else x.roll(2, 2),
    (1, 1, 6),
    spreads_nan=False,
    decidable=False,
)
fn("control flow on item", lambda x: x * x[0, 0, 2].item(), (1, 1, 6), decidable=False, differentiable=False)
fn(
    "length read from the data",
    lambda x: x[..., : int(x[0, 0, 0].abs().clamp(max=3)) + 1].sum(2),
    (1, 1, 6),
    spreads_nan=False,
    decidable=False,
    differentiable=False,
)
fn("nonzero", lambda x: x[x > 0].sum().reshape(1, 1), (1, 1, 5), spreads_nan=False, decidable=False)
fn(
    "python list",
    lambda x: torch.tensor([v * 2 for v in x[0, 0].tolist()], dtype=x.dtype)[None, None],
    (1, 1, 5),
    decidable=False,
    differentiable=False,
)
fn(
    "branch on a random number of torch",
    lambda x: x.roll(1, 2) if torch.rand(()) < 0.5 else x.roll(2, 2),
    (1, 1, 6),
    spreads_nan=False,
    decidable=False,
)
fn(
    "branch on a random number of Python",
    lambda x: x.roll(1, 2) if random.random() < 0.5 else x.roll(2, 2),
    (1, 1, 6),
    spreads_nan=False,
    decidable=False,
)
fn("random permutation", lambda x: x[:, :, torch.randperm(5)], (1, 1, 5), spreads_nan=False, decidable=False)
fn("noise added", lambda x: x + torch.randn_like(x), (1, 1, 5))
fn("random mask", lambda x: x.roll(1, 2) * torch.bernoulli(torch.full_like(x, 0.5)), (1, 1, 5), spreads_nan=False)


def _no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        y = x.roll(1, 2)
    return y * 2


# Fixed kernels, masks, weights computed from weights


def sobel() -> Tensor:
    """Horizontal Sobel kernel: its middle column is zero."""
    return torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]).reshape(1, 1, 3, 3)


class MaskedConv(nn.Conv2d):
    """PixelCNN, type A: the kernel sees rows above and columns to the left."""

    mask: Tensor

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        mask = torch.zeros_like(self.weight)
        mask[:, :, :1], mask[:, :, 1, :1] = 1, 1
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class WeightDataMaskedConv(MaskedConv):
    """The older habit: write the mask into the weight."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data *= self.mask
        return self._conv_forward(x, self.weight, self.bias)


def pruned() -> nn.Module:
    """A convolution with the middle tap pruned."""
    conv = nn.Conv1d(1, 1, 3)
    prune.custom_from_mask(conv, "weight", torch.tensor([[[1.0, 0, 1]]]))
    # Pruning leaves the masked product behind as a plain attribute with a graph; a forward pre-hook makes it anew.
    return conv


class Symmetric(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + weight.flip(-1)


add("sobel in a buffer", lambda: Fn(lambda m, x: F.conv2d(x, m.k), k=sobel()), (1, 1, 5, 5), spreads_nan=False)
add("sobel in a parameter", lambda: Fn(lambda m, x: F.conv2d(x, m.k), k=nn.Parameter(sobel())), (1, 1, 5, 5))
add(
    "sobel in a frozen parameter",
    lambda: Fn(lambda m, x: F.conv2d(x, m.k), k=nn.Parameter(sobel(), requires_grad=False)),
    (1, 1, 5, 5),
)
fn("sobel made in forward", lambda x: F.conv2d(x, sobel().to(x), padding=1), (1, 1, 5, 5), spreads_nan=False)
add(
    "sobel, transposed conv",
    lambda: Fn(lambda m, x: F.conv_transpose2d(x, m.k, stride=2), k=sobel()),
    (1, 1, 3, 3),
    spreads_nan=False,
)
add(
    "one kernel per channel, holes differ",
    lambda: Fn(lambda m, x: F.conv1d(x, m.k, groups=2), k=torch.tensor([[[1.0, 0, 1]], [[0.0, 2, 0]]])),
    (1, 2, 6),
    spreads_nan=False,
)
add(
    "blur pool",
    lambda: Fn(
        lambda m, x: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), m.k, stride=2),
        k=torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])).reshape(1, 1, 3, 3),
    ),
    (1, 1, 6, 6),
)
add(
    "masked conv (PixelCNN)",
    lambda: nn.Sequential(MaskedConv(1, 2, 3, padding=1), nn.ReLU(), MaskedConv(2, 1, 3, padding=1)),
    (1, 1, 5, 5),
    spreads_nan=False,
)
add(
    "masked conv, mask written into the weight",
    lambda: WeightDataMaskedConv(1, 2, 3, padding=1),
    (1, 1, 4, 4),
    spreads_nan=False,
    shared_weights=True,
)
add(
    "causal conv by padding",
    lambda: nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(1, 1, 3, dilation=2)),
    (1, 1, 7),
)
add("causal conv by cropping", lambda: Fn(lambda m, x: m.c(x)[..., :-2], c=nn.Conv1d(1, 1, 3, padding=2)), (1, 1, 6))
add("pruned conv", pruned, (1, 1, 7), spreads_nan=False)
add("weight norm", lambda: parametrizations.weight_norm(nn.Conv1d(1, 2, 3)), (1, 1, 6))
add("spectral norm", lambda: parametrizations.spectral_norm(nn.Conv1d(1, 2, 3)), (1, 1, 6))
add("own parametrization", lambda: _parametrized(), (1, 1, 6))
add(
    "weight standardisation",
    lambda: Fn(
        lambda m, x: F.conv1d(x, (m.w - m.w.mean(2, keepdim=True)) / m.w.std(2, keepdim=True)),
        w=nn.Parameter(torch.randn(2, 1, 3)),
    ),
    (1, 1, 6),
)
add(
    "hypernetwork: kernel from the input",
    lambda: Fn(lambda m, x: F.conv1d(x, m.l(x.mean(2)).view(1, 1, 3)), l=nn.Linear(1, 3)),
    (1, 1, 6),
)
add("dynamic kernel from a second input", lambda: Fn(lambda m, x, k: F.conv1d(x, k)), several((1, 1, 6), (1, 1, 3)))
add(
    "integer parameter as index",
    lambda: Fn(lambda m, x: x[:, :, m.i], i=nn.Parameter(torch.tensor([2, 0]), requires_grad=False)),
    (1, 1, 4),
)
add(
    "spatial transformer with free angles",
    lambda: Fn(
        lambda m, x: F.grid_sample(
            x, F.affine_grid(m.theta[None], [1, 1, 3, 3], align_corners=False), align_corners=False
        ),
        theta=nn.Parameter(torch.eye(2, 3)),
    ),
    (1, 1, 3, 4),
    spreads_nan=False,
    draws=300,
)
fn(
    "grid_sample by the input",
    lambda x: F.grid_sample(x, x.movedim(1, 3), align_corners=True),
    (1, 2, 3, 3),
    spreads_nan=False,
    draws=300,
)


def _parametrized() -> nn.Module:
    conv = nn.Conv1d(1, 1, 3)
    parametrize.register_parametrization(conv, "weight", Symmetric())
    return conv
