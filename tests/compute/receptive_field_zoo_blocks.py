"""Wrappers, transforms and whole blocks of known networks: small architectures to examine."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from receptive_field_zoo import TOKENS, Fn, Zoo, several
from torch import Tensor, nn

BLOCKS = Zoo()
add, fn = BLOCKS.add, BLOCKS.fn
LINE = (1, 1, 6)

# Wrappers, transforms, other ways to run a network


class Rounded(torch.autograd.Function):
    """Rounds; its gradient claims to read the neighbour."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
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
