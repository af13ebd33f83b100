"""Code that breaks simple ways of watching a network: writes, caches, computed weights, dead paths, transforms."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from receptive_field_zoo import TOKENS, Fn, Zoo, several
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


# Wrappers, transforms, other ways to run a network


class Rounded(torch.autograd.Function):
    """Rounds; its gradient claims to read the neighbour."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient + gradient.roll(1, -1)


def _hooked() -> nn.Module:
    model = nn.Sequential(nn.Conv1d(1, 1, 2), nn.ReLU())
    model[0].register_forward_pre_hook(lambda module, arguments: (arguments[0].roll(2, 2),))
    model[1].register_forward_hook(lambda module, arguments, output: output + output.flip(2))
    return model


def _patched() -> nn.Module:
    model = nn.Conv1d(1, 1, 3)
    model.forward = lambda input: F.conv1d(input.flip(2), model.weight)  # type: ignore[method-assign]
    return model


def _energy(m: Any, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(torch.tanh(m.c(x)).pow(2).sum(), x)
    return gradient.detach()


class Scripted(nn.Module):
    """A convolution and a loop, for the script compiler."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = torch.tanh(self.conv(x))
        return x


add(
    "own autograd function",
    lambda: Fn(lambda m, x: Rounded.apply(m.c(x)), c=nn.Conv1d(1, 1, 2)),
    LINE,
    differentiable=False,
)
add("hooks of the user change the way", _hooked, LINE)
add("forward replaced on the instance", _patched, LINE)
add("gradient of an energy as output", lambda: Fn(_energy, c=nn.Conv1d(1, 1, 2)), LINE, differentiable=False)
add("scripted", lambda: torch.jit.script(Scripted()), (1, 1, 11), shared_weights=True)
add("data parallel", lambda: nn.DataParallel(nn.Conv1d(1, 1, 3)), LINE)
add(
    "vmap inside",
    lambda: Fn(
        lambda m, x: torch.vmap(lambda row: m.c(row[None]), randomness="same")(x[0])[None, :, 0], c=nn.Conv1d(1, 1, 3)
    ),
    (1, 2, 6),
)
add(
    "functional_call",
    lambda: Fn(
        lambda m, x: torch.func.functional_call(m.c, {"weight": m.w * m.k}, (x,)),
        c=nn.Conv1d(1, 1, 3, bias=False),
        w=nn.Parameter(torch.ones(1, 1, 3)),
        k=torch.tensor([[[1.0, 0, 1]]]),
    ),
    LINE,
    spreads_nan=False,
)
add(
    "jvp inside",
    lambda: Fn(lambda m, x: torch.func.jvp(m.c, (x,), (x.roll(1, 2),))[1], c=nn.Conv1d(1, 1, 2)),
    LINE,
    differentiable=False,
)
add("autocast inside", lambda: Fn(lambda m, x: _autocast(m, x), c=nn.Conv1d(1, 1, 3)), LINE, differentiable=False)
add(
    "input as a Parameter",
    lambda: nn.Conv1d(1, 1, 3),
    lambda g: (nn.Parameter(torch.randn(LINE, generator=g)),),
    differentiable=False,
)
add(
    "input in channels-last memory",
    lambda: nn.Conv2d(2, 1, 2),
    lambda g: (torch.randn(1, 2, 4, 4, generator=g).to(memory_format=torch.channels_last),),
)
add(
    "input expanded from one number",
    lambda: nn.Conv2d(1, 1, 2),
    lambda g: (torch.randn(1, 1, 1, 1, generator=g).expand(1, 1, 4, 4),),
)
add(
    "second input of integers picks positions",
    lambda: Fn(lambda m, x, i: x.gather(2, i)),
    lambda g: (torch.randn(1, 1, 4, generator=g), torch.randint(0, 4, (1, 1, 3), generator=g)),
    decidable=False,
    spreads_nan=False,
)
add(
    "second input decides by where",
    lambda: Fn(lambda m, x, y: torch.where(y > 0, x, x.roll(1, 2))),
    several(LINE, LINE),
    spreads_nan=False,
)


def _autocast(m: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=x.dtype == torch.float32):
        return m.c(x).float()


# Whole blocks

add(
    "inverted residual",
    lambda: Fn(
        lambda m, x: x + m.b(x),
        b=nn.Sequential(
            nn.Conv1d(2, 4, 1),
            nn.BatchNorm1d(4),
            nn.ReLU6(),
            nn.Conv1d(4, 4, 3, padding=1, groups=4),
            nn.BatchNorm1d(4),
            nn.ReLU6(),
            nn.Conv1d(4, 2, 1),
        ),
    ),
    (1, 2, 6),
)
add(
    "aspp",
    lambda: Fn(
        lambda m, x: m.o(torch.cat([m.a(x), m.b(x), F.interpolate(m.p(x.mean(2, keepdim=True)), x.shape[2:])], 1)),
        a=nn.Conv1d(1, 1, 3, padding=2, dilation=2),
        b=nn.Conv1d(1, 1, 3, padding=4, dilation=4),
        p=nn.Conv1d(1, 1, 1),
        o=nn.Conv1d(3, 2, 1),
    ),
    (1, 1, 10),
)
add(
    "aspp without pooling",
    lambda: Fn(
        lambda m, x: m.o(torch.cat([m.a(x), m.b(x)], 1)),
        a=nn.Conv1d(1, 1, 3, padding=2, dilation=2),
        b=nn.Conv1d(1, 1, 3, padding=4, dilation=4),
        o=nn.Conv1d(2, 2, 1),
    ),
    (1, 1, 12),
)
add(
    "feature pyramid",
    lambda: Fn(
        lambda m, x: (m.l(a := m.a(x)) + F.interpolate(m.t(b := m.b(a)), a.shape[2:]), b),
        a=nn.Conv1d(1, 2, 3, 2, 1),
        b=nn.Conv1d(2, 2, 3, 2, 1),
        l=nn.Conv1d(2, 2, 1),
        t=nn.Conv1d(2, 2, 1),
    ),
    (1, 1, 12),
)
add(
    "wavenet",
    lambda: Fn(
        lambda m, x: _wavenet(m, x),
        f=nn.ModuleList(nn.Conv1d(1, 1, 2, dilation=2**i) for i in range(3)),
        g=nn.ModuleList(nn.Conv1d(1, 1, 2, dilation=2**i) for i in range(3)),
    ),
    (1, 1, 12),
)
add(
    "convnext block",
    lambda: Fn(
        lambda m, x: x + m.g[:, None] * m.o(F.gelu(m.i(m.n(m.d(x).mT)))).mT,
        d=nn.Conv1d(2, 2, 5, padding=2, groups=2),
        n=nn.LayerNorm(2),
        i=nn.Linear(2, 4),
        o=nn.Linear(4, 2),
        g=nn.Parameter(1e-6 * torch.ones(2)),
    ),
    (1, 2, 7),
)
add(
    "laplacian pyramid",
    lambda: Fn(lambda m, x: x - F.interpolate(F.avg_pool1d(x, 2), scale_factor=2, mode="linear")),
    (1, 1, 8),
)
add(
    "haar wavelet and back",
    lambda: Fn(
        lambda m, x: F.conv_transpose1d(F.conv1d(x, m.h, stride=2) * m.t, m.h, stride=2),
        h=torch.tensor([[[0.5, 0.5]], [[0.5, -0.5]]]),
        t=torch.tensor([[1.0], [3.0]]),
    ),
    (1, 1, 8),
)
add(
    "gated pixelcnn stacks",
    lambda: Fn(lambda m, x: _pixelcnn(m, x), v=nn.Conv2d(1, 1, (2, 3)), h=nn.Conv2d(1, 1, (1, 2))),
    (1, 1, 5, 5),
)
add(
    "hourglass",
    lambda: Fn(
        lambda m, x: m.s(x) + F.interpolate(m.l(F.max_pool1d(x, 2)), scale_factor=2),
        s=nn.Conv1d(1, 1, 3, padding=1),
        l=nn.Conv1d(1, 1, 3, padding=1),
    ),
    (1, 1, 8),
)
add(
    "deformable by grid_sample",
    lambda: Fn(
        lambda m, x: F.grid_sample(x, m.grid + m.o(x).movedim(1, 3), align_corners=False),
        o=nn.Conv2d(1, 2, 1),
        grid=F.affine_grid(torch.eye(2, 3)[None], [1, 1, 3, 3], align_corners=False),
    ),
    (1, 1, 3, 3),
    spreads_nan=False,
    draws=300,
    decidable=False,
)
add(
    "reversible coupling",
    lambda: Fn(
        lambda m, x: torch.cat([a := x[:, :1] + m.f(x[:, 1:]), x[:, 1:] * torch.exp(m.g(a))], 1),
        f=nn.Conv1d(1, 1, 3, padding=1),
        g=nn.Conv1d(1, 1, 3, padding=1),
    ),
    (1, 2, 7),
)
add(
    "encoder and decoder of a transformer",
    lambda: Fn(
        lambda m, x: m.t(x, x, tgt_mask=m.mask),
        t=nn.Transformer(2, 1, 1, 1, 3, batch_first=True),
        mask=nn.Transformer.generate_square_subsequent_mask(4),
    ),
    (1, 4, 2),
    **TOKENS,
)
add(
    "decoder layer, causal",
    lambda: Fn(
        lambda m, x, memory: m.t(x, memory, tgt_mask=m.mask),
        t=nn.TransformerDecoderLayer(2, 1, 3, batch_first=True),
        mask=nn.Transformer.generate_square_subsequent_mask(4),
    ),
    several((1, 4, 2), (1, 3, 2)),
    spreads_nan=False,  # the fused attention of torch loses a NaN in a query
    **TOKENS,
)
add(
    "key padding mask",
    lambda: Fn(
        lambda m, x: m.t(x, x, x, key_padding_mask=m.mask)[0],
        t=nn.MultiheadAttention(2, 1, batch_first=True),
        mask=torch.tensor([[False, True, False, True]]),
    ),
    (1, 4, 2),
    spreads_nan=False,
    **TOKENS,
)
add(
    "packed sequence",
    lambda: Fn(lambda m, x: _packed(m, x), r=nn.GRU(1, 2, batch_first=True)),
    (1, 5, 1),
    decidable=False,
    **TOKENS,
)
add("bilinear", lambda: Fn(lambda m, x: m.b(x[:, 1:], x[:, :-1]), b=nn.Bilinear(2, 2, 2)), (1, 5, 2), **TOKENS)
add("scan by doubling", lambda: Fn(lambda m, x: _doubling(x)), (1, 1, 7))
add(
    "chunked recurrence",
    lambda: Fn(lambda m, x: torch.cat([m.r(c)[0] for c in x.chunk(3, 1)], 1), r=nn.RNN(1, 2, batch_first=True)),
    (1, 6, 1),
    **TOKENS,
)


def _wavenet(m: Any, x: Tensor) -> Tensor:
    skip: Any = 0.0
    for f, g in zip(m.f, m.g, strict=True):
        y = torch.tanh(f(x)) * torch.sigmoid(g(x))
        skip = y if isinstance(skip, float) else skip[..., -y.shape[2] :] + y
        x = x[..., -y.shape[2] :] + y
    return skip


def _pixelcnn(m: Any, x: Tensor) -> Tensor:
    vertical = m.v(F.pad(x, (1, 1, 2, 0)))[:, :, :-1]
    return m.h(F.pad(x, (2, 0, 0, 0))[..., :-1]) + vertical


def _packed(m: Any, x: Tensor) -> Tensor:
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4]), batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(m.r(packed)[0], batch_first=True, total_length=5)[0]


def _doubling(x: Tensor) -> Tensor:
    step = 1
    while step < x.shape[2]:
        x = x + F.pad(x, (step, 0))[..., : x.shape[2]]
        step *= 2
    return x
