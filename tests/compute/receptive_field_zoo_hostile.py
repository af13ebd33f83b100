"""Code that breaks simple ways of watching a network: dead paths, computed weights, writes, caches."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from receptive_field_zoo import TOKENS, Fn, Zoo
from torch import Tensor, nn

HOSTILE = Zoo()
add, fn = HOSTILE.add, HOSTILE.fn
LINE = (1, 1, 6)

# Paths that are dead because of a constant


def dead(name: str, kill: Any, **options: Any) -> None:
    """The input, plus a convolution's result that ``kill`` makes constant."""
    add(
        f"dead: {name}",
        lambda: Fn(lambda m, x: x + kill(m.c(x)), c=nn.Conv1d(1, 1, 3, padding=1)),
        LINE,
        spreads_nan=False,
        **options,
    )


dead("times 0", lambda y: y * 0)
dead("0.0 times", lambda y: 0.0 * y)
dead("times zeros", lambda y: y * torch.zeros(6).to(y))
dead("times some zeros", lambda y: y * torch.tensor([0.0, 1, 0, 1, 1, 0]).to(y))
dead("divided into zero", lambda y: 0.0 / (y * y + 1))
dead("zeros_like", torch.zeros_like)
dead("new_zeros", lambda y: y.new_zeros(6))
dead("shape only", lambda y: float(y.shape[2]))
dead("add with alpha 0", lambda y: torch.add(torch.ones_like(y), y, alpha=0))
dead("addcmul with value 0", lambda y: torch.addcmul(torch.ones_like(y), y, y, value=0))
dead("lerp by 0", lambda y: torch.lerp(torch.ones_like(y), y, 0.0))
dead("masked_fill of all", lambda y: y.masked_fill(torch.ones(6, dtype=torch.bool), 2.0))
dead("fill_", lambda y: y.fill_(3.0))
dead("mul_ by 0", lambda y: y.mul_(0))
dead("dropout of everything", lambda y: F.dropout(y, 1.0, True))
dead("where all False", lambda y: torch.where(torch.zeros(6, dtype=torch.bool), y, 1.0))
dead("clamp to a point", lambda y: y.clamp(1, 1))
dead("power 0", lambda y: y**0)
dead("kernel of zeros", lambda y: F.conv1d(y, torch.zeros(1, 1, 3).to(y), padding=1))
dead("matrix of zeros", lambda y: y @ torch.zeros(6, 6).to(y))
dead("overwritten", lambda y: y.copy_(torch.ones(6)))
dead("softmax of one number", lambda y: y.softmax(1))
dead("norm of one number", lambda y: F.layer_norm(y[..., None], (1,))[..., 0], decidable=False)
dead("argmax of one number", lambda y: y.argmax(1, keepdim=True))
dead("int times 0", lambda y: y.long() * 0)
dead("and False", lambda y: (y > 0) & False)

# Weights computed from free and fixed numbers


def weighted(name: str, compute: Any, shape: tuple[int, ...] = (5, 5), **options: Any) -> None:
    """A linear map over five positions whose matrix is computed from a Parameter."""
    add(
        f"matrix: {name}",
        lambda: Fn(lambda m, x: F.linear(x, compute(m.w)), w=nn.Parameter(torch.randn(shape))),
        (1, 1, 5),
        spreads_nan=False,
        **options,
    )


BAND = torch.ones(5, 5).tril(1).triu(-1)

weighted("times a band", lambda w: w * BAND.to(w))
weighted("masked_fill", lambda w: w.masked_fill(BAND == 0, 0.0))
weighted("where", lambda w: torch.where(BAND.bool(), w, 0.0))
weighted("tril", lambda w: w.tril(-1))
weighted("diag", torch.diag, (5,))
weighted("diag_embed", lambda w: torch.diag_embed(w, 1), (4,))
weighted("block_diag", lambda w: torch.block_diag(w[:2, :2], w[2:, 2:]))
weighted("padded", lambda w: F.pad(w, (1, 2)), (5, 2))
weighted("with zeros behind", lambda w: torch.cat([w, torch.zeros(5, 3).to(w)], 1), (5, 2))
weighted("written into zeros", lambda w: _written(w), (5, 2))
weighted(
    "index_put into zeros",
    lambda w: torch.zeros(5, 5).to(w).index_put((torch.arange(5), torch.tensor([4, 0, 0, 2, 3])), w),
    (5,),
)
weighted("scattered into zeros", lambda w: torch.zeros(5, 5).to(w).scatter(1, torch.tensor([[1, 3]] * 5), w), (5, 2))
weighted("kron with the identity", lambda w: torch.kron(w, torch.eye(5).to(w)), (1, 1))
weighted("rolled band", lambda w: (w * BAND.to(w)).roll(1, 0).T)
weighted("relu of masked", lambda w: F.relu(w * BAND.to(w)))
weighted("sigmoid of masked is full", lambda w: torch.sigmoid(w * BAND.to(w)))
weighted("softmax with -inf", lambda w: w.masked_fill(BAND == 0, -torch.inf).softmax(1))
weighted("normalised masked", lambda w: F.normalize(w * BAND.to(w), dim=1))
weighted("band product", lambda w: (w * BAND.to(w)) @ BAND.to(w))
weighted("low rank is full", lambda w: w[:, :1] @ w[:1])
weighted("einsum of diagonals", lambda w: torch.einsum("i,ij->ij", w, torch.eye(5).to(w)), (5,))
weighted("toeplitz", lambda w: torch.stack([F.pad(w, (i, 4 - i))[1:6] for i in range(5)]), (3,))
weighted("half of a doubled zero", lambda w: w * (BAND.to(w) * 2 / 2 - 0))
weighted("gathered from a table", lambda w: (w.flatten()[torch.arange(25).view(5, 5) % 7]) * BAND.to(w))
weighted("complex parts", lambda w: torch.view_as_complex(torch.stack([w * BAND.to(w), w], -1)).real)
weighted("detached copy", lambda w: w.detach().clone() * BAND.to(w))
weighted("list of rows", lambda w: torch.stack([row * mask for row, mask in zip(w, BAND.to(w), strict=True)]))


def _written(w: Tensor) -> Tensor:
    matrix = torch.zeros(5, 5).to(w)
    matrix[:, ::3] = w
    return matrix


add(
    "kernel: two taps in a dilated buffer frame",
    lambda: Fn(lambda m, x: F.conv1d(x, F.pad(m.w, (2, 1))), w=nn.Parameter(torch.ones(1, 1, 2))),
    (1, 1, 8),
    spreads_nan=False,
)
add(
    "kernel: bias only from the input",
    lambda: Fn(lambda m, x: F.conv1d(x, m.w, x[0, 0, :1]), w=nn.Parameter(torch.ones(1, 1, 2))),
    LINE,
)
add("kernel: the input convolved with itself", lambda: Fn(lambda m, x: F.conv1d(x, x[:, :, 1:3])), LINE)
add(
    "linear with the input as matrix",
    lambda: Fn(lambda m, x: F.linear(m.w, x[0])[None], w=nn.Parameter(torch.ones(2, 4))),
    (1, 3, 4),
    axes=(1,),
    output_axes=(2,),
)
add("buffer mask not registered", lambda: _with_attribute(), LINE, spreads_nan=False)
add(
    "autoregressive linear (MADE)",
    lambda: Fn(
        lambda m, x: F.linear(F.relu(F.linear(x, m.a * m.s)), m.b * m.t),
        a=nn.Parameter(torch.randn(5, 5)),
        b=nn.Parameter(torch.randn(5, 5)),
        s=torch.ones(5, 5).tril(),
        t=torch.ones(5, 5).tril(-1),
    ),
    (1, 1, 5),
    spreads_nan=False,
)
add(
    "locally connected",
    lambda: Fn(lambda m, x: (x.unfold(2, 3, 1) * m.w).sum(-1), w=nn.Parameter(torch.ones(4, 3))),
    LINE,
)
add(
    "relative position bias from a table",
    lambda: Fn(
        lambda m, x: (x.mT @ x + m.table[m.index]).softmax(-1) @ x.mT,
        table=nn.Parameter(torch.zeros(9)),
        index=torch.arange(5)[:, None] - torch.arange(5) + 4,
    ),
    (1, 2, 5),
    output_axes=(1,),
)
add(
    "finite mask can be outweighed",
    lambda: Fn(
        lambda m, x: ((x.mT @ x) + m.mask).softmax(-1) @ x.mT,
        mask=torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1).bool(), -1e9),
    ),
    (1, 2, 4),
    output_axes=(1,),
    reach=1e13,
    draws=200,
)
add(
    "alibi keeps everything in sight",
    lambda: Fn(
        lambda m, x: (x.mT @ x - m.far).softmax(-1) @ x.mT, far=(torch.arange(4.0)[:, None] - torch.arange(4)).abs()
    ),
    (1, 2, 4),
    output_axes=(1,),
)
add(
    "swin: shifted windows with a mask",
    lambda: Fn(
        lambda m, x: _swin(m, x),
        q=nn.Linear(2, 2),
        mask=torch.tensor([[[0.0, 0], [0, 0]], [[0, 0], [0, 0]], [[0, -torch.inf], [-torch.inf, 0]]]),
    ),
    (1, 6, 2),
    spreads_nan=False,
    **TOKENS,
)
add(
    "gpt: causal bias buffer",
    lambda: Fn(
        lambda m, x: (m.q(x) @ m.k(x).mT).masked_fill(m.bias[:, :4, :4] == 0, float("-inf")).softmax(-1) @ x,
        q=nn.Linear(2, 2),
        k=nn.Linear(2, 2),
        bias=torch.ones(1, 9, 9).tril(),
    ),
    (1, 4, 2),
    spreads_nan=False,
    **TOKENS,
)
add(
    "sliding window attention by unfold",
    lambda: Fn(lambda m, x: _sliding(m.q(x), x), q=nn.Linear(2, 2)),
    (1, 6, 2),
    **TOKENS,
)


def _swin(m: Any, x: Tensor) -> Tensor:
    windows = x.roll(-1, 1).view(3, 2, 2)
    scores = m.q(windows) @ windows.mT + m.mask
    return (scores.softmax(-1) @ windows).reshape(1, 6, 2).roll(1, 1)


def _sliding(q: Tensor, x: Tensor) -> Tensor:
    keys = F.pad(x, (0, 0, 2, 0)).unfold(1, 3, 1)
    scores = torch.einsum("btc,btcw->btw", q, keys).softmax(-1)
    return torch.einsum("btw,btcw->btc", scores, keys)


def _with_attribute() -> nn.Module:
    module = Fn(lambda m, x: F.conv1d(x, m.kernel.to(x)))
    object.__setattr__(module, "kernel", torch.tensor([[[1.0, 0, 1]]]))
    return module


# Writing and remembering


class Remembering(nn.Module):
    """Keeps what it saw in a buffer, and reads it back."""

    memory: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(1, 1, 8))
        self.conv = nn.Conv1d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.memory[:, :, 1:7] = x
        return self.conv(self.memory)


class Rebinding(Remembering):
    """Replaces its buffer by a new tensor."""

    def forward(self, x: Tensor) -> Tensor:
        self.memory = F.pad(x, (2, 0))
        return self.conv(self.memory)


class Lazy(nn.Module):
    """Makes its mask at the first call and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is None:
            self.mask = torch.arange(x.shape[2], device=x.device).remainder(2).to(x)
        return x * self.mask


add("memory in a buffer", Remembering, LINE)
add("a buffer bound anew", Rebinding, LINE)
add("a mask made at the first call", Lazy, LINE, spreads_nan=False)
fn("write: out= argument", lambda x: torch.add(x, x.roll(1, 2), out=torch.empty_like(x)), LINE, differentiable=False)
fn(
    "write: cat into out=",
    lambda x: torch.cat([x, x.flip(2)], 1, out=torch.empty(1, 2, 6, dtype=x.dtype)),
    LINE,
    differentiable=False,
)
fn("write: data", lambda x: _write_data(x.clone()), LINE, differentiable=False)
fn("write: data replaced", lambda x: _replace_data(x.clone()), LINE, differentiable=False)
fn("write: set_", lambda x: x.clone().set_(x.roll(2, 2)), LINE, differentiable=False)
fn("write: chain of views", lambda x: _chain(x.clone()), (1, 1, 4, 4))
fn("write: unbind", lambda x: _unbound(x.clone()), (1, 1, 3, 4), differentiable=False)
fn("write: expanded source", lambda x: torch.zeros(1, 1, 4, 6).to(x).copy_(x[:, :, None]), LINE, output_axes=(2, 3))
fn("write: diagonal", lambda x: _diagonal(x.clone()), (1, 1, 4, 4))
fn(
    "write: masked_scatter_",
    lambda x: x.clone().masked_scatter_(torch.tensor([1, 0, 1, 0, 0, 1]).bool(), x.flip(2)),
    LINE,
)
fn("write: twice the same place", lambda x: _twice(x), LINE)
fn("write: swapped halves", lambda x: _swap(x.clone()), LINE)
fn("write: iterating with growth", lambda x: _accumulate(x), LINE)
fn("write: as_strided_ overlap", lambda x: x.clone().as_strided_((1, 1, 5, 2), (1, 1, 1, 1)), LINE, output_axes=(2,))
fn("write: resize by slicing into empty", lambda x: _into_empty(x), LINE)
fn("constant bool index", lambda x: x[:, :, torch.tensor([True, False, True, True, False, False])], LINE)
fn("constant nonzero", lambda x: x[:, :, torch.eye(6)[2:4].sum(0).nonzero()[:, 0]], LINE)
fn(
    "view through other dtypes",
    lambda x: x.view(torch.int64 if x.dtype == torch.float64 else torch.int32).view(x.dtype),
    LINE,
    differentiable=False,
    spreads_nan=False,
)


fn(
    "write: diagonal, then a gate, beside the input",
    lambda x: torch.cat([(y := _raised_diagonal(x.clone())) * y.mean((2, 3), keepdim=True), x], 1),
    (1, 1, 6, 5),
)


def _raised_diagonal(y: Tensor) -> Tensor:
    y.diagonal(0, 2, 3).add_(y[:, :, 0, 0, None])
    return y


def _write_data(y: Tensor) -> Tensor:
    y.data[:, :, 1:3] = 7.0
    return y * 2


def _replace_data(y: Tensor) -> Tensor:
    y.data = y.data.roll(1, 2)
    return y * 2


def _chain(y: Tensor) -> Tensor:
    y[:, :, 1:].transpose(2, 3)[:, :, ::2].flatten(0, 1)[0].add_(y[0, 0, 0, 1])
    return y


def _unbound(y: Tensor) -> Tensor:
    first, second, third = y.unbind(2)
    with torch.no_grad():
        second.copy_(first + third)
        third.zero_()
    return y


def _diagonal(y: Tensor) -> Tensor:
    y.diagonal(0, 2, 3).copy_(y[:, :, 0].flip(-1))
    return y


def _twice(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[..., 2:5] = x[..., :3]
    y[..., 3:] = x[..., 3:]
    return y


def _swap(y: Tensor) -> Tensor:
    y[..., :3], y[..., 3:] = y[..., 3:].clone(), y[..., :3].clone()
    return y


def _accumulate(x: Tensor) -> Tensor:
    total = torch.zeros(1, 1, 1).to(x)
    outputs = []
    for part in x.split(1, 2):
        total += part
        outputs.append(total.clone())
    return torch.cat(outputs, 2)


def _into_empty(x: Tensor) -> Tensor:
    y = torch.empty(1, 1, 12).to(x)
    y[..., ::2] = x
    y[..., 1::2] = x.flip(2)
    return y
