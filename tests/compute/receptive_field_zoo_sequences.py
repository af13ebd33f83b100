"""Recurrent nets, attention, linear maps over positions, norms: small architectures to examine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from receptive_field_zoo import TOKENS, Fn, Zoo, several
from torch import Tensor, nn

SEQUENCES = Zoo()
add, fn = SEQUENCES.add, SEQUENCES.fn
sdpa = F.scaled_dot_product_attention
TIME_FIRST: dict[str, Any] = {"axes": (0,), "output_axes": (0,)}

# Recurrent nets

for kind in (nn.RNN, nn.LSTM, nn.GRU):
    for both in (False, True):
        add(
            f"{kind.__name__} batch_first bidirectional={both}",
            lambda k=kind, b=both: k(2, 2, batch_first=True, bidirectional=b),
            (1, 5, 2),
            **TOKENS,
        )
    add(f"{kind.__name__} time first, two layers", lambda k=kind: k(2, 3, num_layers=2), (5, 1, 2), **TIME_FIRST)
add("LSTM both ways, two layers", lambda: nn.LSTM(2, 2, 2, batch_first=True, bidirectional=True), (1, 4, 2), **TOKENS)
add(
    "LSTM with dropout in train",
    lambda: nn.LSTM(2, 2, 2, batch_first=True, dropout=0.3),
    (1, 4, 2),
    train=True,
    **TOKENS,
)
add("LSTM with projection", lambda: nn.LSTM(2, 3, batch_first=True, proj_size=2), (1, 4, 2), **TOKENS)
add(
    "directions of a GRU apart",
    lambda: Fn(lambda m, x: m.r(x)[0][..., :2], r=nn.GRU(2, 2, batch_first=True, bidirectional=True)),
    (1, 5, 2),
    **TOKENS,
)
add(
    "last state of a GRU", lambda: Fn(lambda m, x: m.r(x)[1][0], r=nn.GRU(2, 2, batch_first=True)), (1, 4, 2), axes=(1,)
)
add(
    "LSTM cells in a loop",
    lambda: Fn(lambda m, x: torch.stack(_cells(m.c, x.unbind(1)), 1), c=nn.LSTMCell(2, 2)),
    (1, 4, 2),
    **TOKENS,
)


def _cells(cell: nn.Module, inputs: Any) -> list[Tensor]:
    state, outputs = None, []
    for step in inputs:
        state = cell(step, state)
        outputs.append(state[0])
    return outputs


def _recurrence(m: Any, x: Tensor) -> Tensor:
    """State space: h = A h + B x, read by C, one step at a time."""
    h, outputs = x.new_zeros(x.shape[0], 2), []
    for t in range(x.shape[1]):
        h = h @ m.a + x[:, t] @ m.b
        outputs.append(h @ m.c)
    return torch.stack(outputs, 1)


add(
    "state space in a loop",
    lambda: Fn(
        _recurrence,
        a=nn.Parameter(torch.ones(2, 2)),
        b=nn.Parameter(torch.ones(2, 2)),
        c=nn.Parameter(torch.ones(2, 1)),
    ),
    (1, 5, 2),
    **TOKENS,
)
add(
    "state space with a constant shift matrix",
    lambda: Fn(_recurrence, a=torch.tensor([[0.0, 1.0], [0.0, 0.0]]), b=torch.eye(2), c=nn.Parameter(torch.ones(2, 1))),
    (1, 5, 2),
    spreads_nan=False,
    **TOKENS,
)
add(
    "every second step only",
    lambda: Fn(lambda m, x: m.r(x[:, ::2])[0], r=nn.GRU(1, 2, batch_first=True)),
    (1, 6, 1),
    **TOKENS,
)
add(
    "conv-gru",
    lambda: Fn(lambda m, x: _conv_recurrent(m, x), g=nn.Conv1d(2, 1, 3, padding=1)),
    (1, 3, 6),
    axes=(1, 2),
)


def _conv_recurrent(m: Any, x: Tensor) -> Tensor:
    h, outputs = torch.zeros_like(x[:, :1]), []
    for t in range(x.shape[1]):
        h = torch.tanh(m.g(torch.cat([x[:, t : t + 1], h], 1)))
        outputs.append(h[:, 0])
    return torch.stack(outputs, 1)


# Attention

CAUSAL = torch.ones(5, 5, dtype=torch.bool).tril()
WINDOW = CAUSAL & ~torch.ones(5, 5, dtype=torch.bool).tril(-2)


def attention(forward: Callable[..., Tensor], **members: Any) -> Callable[[], nn.Module]:
    """Queries, keys and values from three linear maps of width 2, then ``forward(module, q, k, v)``."""
    return lambda: Fn(
        lambda m, x: forward(m, m.q(x), m.k(x), m.v(x)),
        q=nn.Linear(2, 2),
        k=nn.Linear(2, 2),
        v=nn.Linear(2, 2),
        **members,
    )


def _by_hand(m: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).masked_fill(~m.mask, -torch.inf).softmax(-1) @ v


add("attention", attention(lambda m, q, k, v: sdpa(q, k, v)), (1, 5, 2), **TOKENS)
add("attention is_causal", attention(lambda m, q, k, v: sdpa(q, k, v, is_causal=True)), (1, 5, 2), **TOKENS)
add("attention, bool window", attention(lambda m, q, k, v: sdpa(q, k, v, m.mask), mask=WINDOW), (1, 5, 2), **TOKENS)
add(
    "attention, float window",
    attention(
        lambda m, q, k, v: sdpa(q, k, v, torch.zeros_like(q @ k.mT).masked_fill(~m.mask, -torch.inf)), mask=WINDOW
    ),
    (1, 5, 2),
    **TOKENS,
)
add("attention by hand, window", attention(_by_hand, mask=WINDOW), (1, 5, 2), spreads_nan=False, **TOKENS)
add("attention by hand, causal", attention(_by_hand, mask=CAUSAL), (1, 5, 2), spreads_nan=False, **TOKENS)
add(
    "attention, windows by reshaping",
    attention(lambda m, q, k, v: sdpa(*(t.unflatten(1, (2, 3)) for t in (q, k, v))).flatten(1, 2)),
    (1, 6, 2),
    **TOKENS,
)
add(
    "attention, shifted windows",
    attention(
        lambda m, q, k, v: sdpa(*(t.roll(-1, 1).unflatten(1, (2, 3)) for t in (q, k, v))).flatten(1, 2).roll(1, 1)
    ),
    (1, 6, 2),
    **TOKENS,
)
add(
    "linear attention, causal",
    attention(lambda m, q, k, v: ((k.exp()[..., None] * v[..., None, :]).cumsum(1) * q.exp()[..., None]).sum(2)),
    (1, 5, 2),
    **TOKENS,
)


def _multihead(**options: Any) -> Callable[[], nn.Module]:
    return lambda: Fn(
        lambda m, x: m.mha(x, x, x, need_weights=options.get("weights", False), attn_mask=m.mask)[0],
        mha=nn.MultiheadAttention(2, 2, batch_first=True),
        mask=options["mask"],
    )


add("multi-head, bool causal mask", _multihead(mask=~CAUSAL), (1, 5, 2), **TOKENS)
add("multi-head, bool causal mask, train", _multihead(mask=~CAUSAL), (1, 5, 2), train=True, **TOKENS)
add(
    "multi-head, float causal mask, weights",
    _multihead(mask=nn.Transformer.generate_square_subsequent_mask(5), weights=True),
    (1, 5, 2),
    **TOKENS,
)
add(
    "multi-head, weights as output",
    lambda: Fn(lambda m, x: m.mha(x, x, x)[1], mha=nn.MultiheadAttention(2, 1, batch_first=True)),
    (1, 4, 2),
    axes=(1,),
    output_axes=(1, 2),
)
add(
    "cross attention to a second input",
    lambda: Fn(lambda m, x, y: m.mha(x, y, y)[0], mha=nn.MultiheadAttention(2, 1, batch_first=True)),
    several((1, 4, 2), (1, 3, 2)),
    **TOKENS,
)
for train in (False, True):
    add(
        f"transformer encoder layer, train={train}",
        lambda: nn.TransformerEncoderLayer(2, 1, 3, dropout=0.1, batch_first=True),
        (1, 4, 2),
        train=train,
        **TOKENS,
    )
add(
    "transformer encoder layer, causal",
    lambda: Fn(
        lambda m, x: m.e(x, src_mask=m.mask), e=nn.TransformerEncoderLayer(4, 1, 3, batch_first=True), mask=~CAUSAL
    ),
    (1, 5, 4),
    **TOKENS,
)
add(
    "transformer encoder, is_causal, two layers",
    lambda: Fn(
        lambda m, x: m.e(x, mask=m.mask, is_causal=True),
        e=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 3, batch_first=True, norm_first=True), 2, enable_nested_tensor=False
        ),
        mask=~CAUSAL,
    ),
    (1, 5, 4),
    **TOKENS,
)
add(
    "vision transformer tokens",
    lambda: Fn(
        lambda m, x: m.e(torch.cat([m.cls.expand(len(x), -1, -1), m.p(x).flatten(2).mT], 1) + m.pos),
        p=nn.Conv2d(1, 4, 2, 2),
        cls=nn.Parameter(torch.zeros(1, 1, 4)),
        pos=nn.Parameter(torch.zeros(1, 5, 4)),
        e=nn.TransformerEncoderLayer(4, 2, 3, batch_first=True),
    ),
    (1, 1, 4, 4),
    output_axes=(1,),
)
add(
    "patch tokens",
    lambda: Fn(lambda m, x: m.l(m.p(x).flatten(2).mT), p=nn.Conv2d(1, 2, 2, 2), l=nn.Linear(2, 2)),
    (1, 1, 4, 6),
    output_axes=(1,),
)
add(
    "patches by reshaping",
    lambda: Fn(
        lambda m, x: m.l(x.reshape(1, 1, 2, 2, 3, 2).permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2)),
        l=nn.Linear(4, 3),
    ),
    (1, 1, 4, 6),
    output_axes=(1,),
)

# Mixing positions

add("linear over positions", lambda: nn.Linear(5, 3), (1, 2, 5))
add("linear over features", lambda: nn.Linear(3, 2), (1, 4, 3), **TOKENS)
add(
    "mlp-mixer",
    lambda: Fn(lambda m, x: m.c(x + m.t(x.mT).mT), t=nn.Linear(4, 4), c=nn.Linear(2, 2)),
    (1, 4, 2),
    **TOKENS,
)
add("classifier", lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), (1, 1, 4, 4))
add("cropped classifier", lambda: Fn(lambda m, x: m.l(x[..., 1:3, 1:3].flatten(1)), l=nn.Linear(4, 3)), (1, 1, 4, 4))
fn("matmul with a band", lambda x: x @ torch.ones(5, 5).triu(-1).tril(1).to(x), (1, 2, 5), spreads_nan=False)
fn(
    "einsum with a band",
    lambda x: torch.einsum("bcw,vw->bcv", x, torch.eye(4).roll(1, 0).to(x)),
    (1, 1, 4),
    spreads_nan=False,
)
fn("bmm with itself", lambda x: torch.bmm(x, x.mT), (1, 3, 4), axes=(1,), output_axes=(1, 2))
fn("einsum over rows", lambda x: torch.einsum("bchw,bcvw->bchv", x, x.flip(2)), (1, 1, 3, 2))
fn("outer product of marginals", lambda x: x.sum(2)[..., :, None] * x.sum(3)[..., None, :], (1, 1, 3, 4))
fn("fft", lambda x: torch.fft.rfft(x).real, (1, 1, 6))
fn("fft low-pass of rows", lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=3)[..., :2], n=6, dim=3), (1, 1, 3, 6))
add(
    "fourier layer",
    lambda: Fn(
        lambda m, x: torch.fft.irfft(torch.fft.rfft(x) * torch.view_as_complex(m.w), n=6),
        w=nn.Parameter(torch.ones(4, 2)),
    ),
    (1, 1, 6),
)
fn(
    "rotary pairs by complex numbers",
    lambda x: torch.view_as_real(
        torch.view_as_complex(x.unflatten(2, (2, 2))) * torch.tensor([1j, 0.6 + 0.8j])
    ).flatten(2),
    (1, 3, 4),
    axes=(1,),
    output_axes=(1,),
)
fn("magnitude of complex pairs", lambda x: torch.complex(x[..., ::2], x[..., 1::2]).abs(), (1, 1, 8))
fn("softmax over one axis", lambda x: x.softmax(3), (1, 1, 3, 4))
fn("log_softmax over channels", lambda x: x.log_softmax(1), (1, 3, 4))
fn("logsumexp", lambda x: x.logsumexp(2), (1, 1, 3, 4), output_axes=(2,))
fn("cumsum", lambda x: x.cumsum(2), (1, 1, 6))
fn("cumsum backwards", lambda x: x.flip(2).cumsum(2).flip(2), (1, 1, 6))
fn("cumprod, cummax, logcumsumexp", lambda x: x.cumprod(2) + x.cummax(3)[0] + x.logcumsumexp(2), (1, 1, 4, 3))
fn("sort along an axis", lambda x: x.sort(3)[0], (1, 1, 3, 4), spreads_nan=False)
fn("argsort", lambda x: x.argsort(2), (1, 1, 4), spreads_nan=False)
fn("topk", lambda x: x.topk(2, 2)[0], (1, 1, 5), spreads_nan=False)
fn("median over rows", lambda x: x.median(3)[0], (1, 1, 3, 4), output_axes=(2,), spreads_nan=False)
fn("max over rows", lambda x: x.amax(3) + x.max(3)[0], (1, 1, 3, 4), output_axes=(2,))
fn("var and norm over rows", lambda x: x.var(3) + x.norm(dim=3), (1, 1, 3, 4), output_axes=(2,))
fn("normalise over channels", lambda x: F.normalize(x, dim=1), (1, 3, 4, 3))
fn(
    "cosine similarity to the first position",
    lambda x: F.cosine_similarity(x, x[..., :1], dim=1),
    (1, 3, 4),
    output_axes=(1,),
)
fn("pairwise distances", lambda x: torch.cdist(x, x), (1, 4, 2), axes=(1,), output_axes=(1, 2), cancels=True)
fn(
    "lookup by nearest neighbour",
    lambda x: torch.cdist(x, torch.eye(3).to(x)).argmin(-1),
    (1, 4, 3),
    spreads_nan=False,
    **TOKENS,
)
add(
    "vector quantisation with straight-through",
    lambda: Fn(lambda m, x: x + (m.book[torch.cdist(x, m.book).argmin(-1)] - x).detach(), book=torch.eye(3)),
    (1, 4, 3),
    spreads_nan=False,
    differentiable=False,
    **TOKENS,
)

# Norms

for train in (False, True):
    add(
        f"batch norm, train={train}",
        lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU()),
        (1, 1, 4, 4),
        train=train,
    )
    add(
        f"instance norm with statistics, train={train}",
        lambda: nn.InstanceNorm1d(2, affine=True, track_running_stats=True),
        (1, 2, 4),
        train=train,
    )
add("batch norm without statistics", lambda: nn.BatchNorm1d(2, track_running_stats=False), (1, 2, 4))
add("batch norm in train, batch of 3", lambda: nn.BatchNorm1d(2), (3, 2, 4), train=True)
add("instance norm", lambda: nn.Sequential(nn.InstanceNorm2d(2), nn.Conv2d(2, 2, 1, groups=2)), (1, 2, 3, 3))
add("group norm", lambda: nn.Sequential(nn.Conv1d(1, 4, 2), nn.GroupNorm(2, 4)), (1, 1, 5))
add("layer norm over channels and positions", lambda: nn.LayerNorm([2, 4]), (1, 2, 4))
add("layer norm over the last axis", lambda: nn.LayerNorm(4), (1, 2, 3, 4))
add("layer norm over features of tokens", lambda: nn.LayerNorm(3), (1, 4, 3), **TOKENS)
add("rms norm over features", lambda: nn.RMSNorm(3), (1, 4, 3), **TOKENS)
add("local response norm", lambda: nn.LocalResponseNorm(2), (1, 3, 4))
add(
    "channel norm as in ConvNeXt",
    lambda: Fn(lambda m, x: m.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), n=nn.LayerNorm(3)),
    (1, 3, 3, 3),
)
