"""Modules used oddly, odd outputs, odd layouts of axes: small architectures to examine."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from receptive_field_zoo import TOKENS, Fn, Zoo, several
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

INTERFACES = Zoo()
add, fn = INTERFACES.add, INTERFACES.fn
sdpa = F.scaled_dot_product_attention

# Modules used oddly, odd outputs, odd layouts


@dataclass
class Output:
    """A dataclass output."""

    label: str
    logits: Tensor


Pair = namedtuple("Pair", "first second")


class Counter(nn.Module):
    """A buffer that changes in forward."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))
        self.conv = nn.Conv1d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return self.conv(x) * self.steps


add(
    "shared module called three times",
    lambda: Fn(lambda m, x: m.c(m.c(m.c(x))), c=nn.Conv1d(1, 1, 3, dilation=2)),
    (1, 1, 14),
)
add("shared in a Sequential", lambda: nn.Sequential(c := nn.Conv1d(1, 1, 2), nn.ReLU(), c), (1, 1, 7))
add(
    "shared on two branches",
    lambda: Fn(lambda m, x: m.c(x[..., ::2]) + m.c(x[..., 1::2]), c=nn.Conv1d(1, 1, 2)),
    (1, 1, 8),
)
add(
    "modules never called, called out of order",
    lambda: Fn(lambda m, x: m.a(m.b(x)), a=nn.Conv1d(1, 1, 2), b=nn.Conv1d(1, 1, 3, 2), c=nn.Conv1d(1, 1, 9)),
    (1, 1, 9),
)
add(
    "functional",
    lambda: Fn(
        lambda m, x: F.max_pool2d(F.conv2d(F.pad(x, (1, 0, 1, 0)), m.w), 2, 1), w=nn.Parameter(torch.ones(1, 1, 2, 2))
    ),
    (1, 1, 5, 5),
)
add(
    "nested Sequential and ModuleList",
    lambda: nn.Sequential(
        nn.Sequential(nn.Conv1d(1, 2, 2), nn.Sequential(nn.ReLU(), nn.Identity())),
        Fn(
            lambda m, x: sum(layer(x) for layer in m.l),
            l=nn.ModuleList([nn.Conv1d(2, 1, 3, padding=1), nn.Conv1d(2, 1, 1)]),
        ),
    ),
    (1, 1, 7),
)
for reentrant in (False, True):
    add(
        f"checkpointed, reentrant={reentrant}",
        lambda r=reentrant: Fn(
            lambda m, x: m.b(checkpoint(m.a, x, use_reentrant=r)),
            a=nn.Conv1d(1, 1, 3, dilation=2),
            b=nn.Conv1d(1, 1, 2),
        ),
        (1, 1, 9),
        train=True,
        differentiable=not reentrant,
    )
add("buffer changed in forward", Counter, (1, 1, 6))
add("dict output", lambda: Fn(lambda m, x: OrderedDict(a=m.a(x), b=x), a=nn.Conv1d(1, 1, 2)), (1, 1, 5))
add("nested output", lambda: Fn(lambda m, x: ("name", {"k": [3, m.a(x)]}, x), a=nn.Conv1d(1, 1, 2)), (1, 1, 5))
add("dataclass output", lambda: Fn(lambda m, x: Output("x", m.a(x)), a=nn.Conv1d(1, 1, 2)), (1, 1, 5))
add("namedtuple output", lambda: Fn(lambda m, x: Pair(m.a(x), x), a=nn.Conv1d(1, 1, 2)), (1, 1, 5))
add(
    "two inputs",
    lambda: Fn(lambda m, x, y: m.a(x) + y[..., 1:-1].mean(), a=nn.Conv1d(1, 1, 3)),
    several((1, 1, 6), (1, 1, 9)),
)
add(
    "a number among the arguments",
    lambda: Fn(lambda m, x, k: m.a(x)[..., k:], a=nn.Conv1d(1, 1, 3)),
    lambda generator: (torch.randn(1, 1, 7, generator=generator), 2),
)
fn("shape-dependent code", lambda x: x[..., x.shape[2] // 2 :] if x.shape[3] > 2 else x, (1, 1, 6, 4))
fn("scalar output", lambda x: x[..., 1:].mean(), (1, 1, 5))
fn("one number per sample", lambda x: x.amax((1, 2)), (2, 1, 5))
fn("the input itself", lambda x: x, (1, 2, 3, 4))
fn("a constant", lambda x: torch.ones(1, 1, 3).to(x), (1, 1, 5))
fn("a view of the input", lambda x: x.view(1, 1, 6), (1, 1, 6))
add("one row read", lambda: Fn(lambda m, x: m.l(x[:, :, 2]), l=nn.Linear(4, 2)), (1, 1, 5, 4), output_axes=(2,))
add(
    "more axes than the input",
    lambda: Fn(lambda m, x: m.c(x).unfold(2, 3, 1), c=nn.Conv1d(1, 1, 2)),
    (1, 1, 7),
    output_axes=(2, 3),
)
add(
    "channels last",
    lambda: Fn(lambda m, x: m.c(x.movedim(3, 1)).movedim(1, 3), c=nn.Conv2d(2, 2, 3, 2, 1)),
    (1, 5, 6, 2),
    axes=(1, 2),
)
add("one axis of two", lambda: nn.Conv2d(1, 1, (3, 2)), (1, 1, 7, 4), axes=(2,), output_axes=(2,))
add("axes in the other order", lambda: nn.Conv2d(1, 1, (3, 1), (2, 1)), (1, 1, 7, 3), axes=(3, 2), output_axes=(3, 2))
add("negative axes", lambda: nn.Conv2d(1, 1, (3, 1), (2, 1)), (1, 1, 7, 3), axes=(-2, -1), output_axes=(-2, -1))
add("no axes: a plain MLP", lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (2, 3))
add("features as positions", lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (1, 4), axes=(1,), output_axes=(1,))
add(
    "video: frames as a batch",
    lambda: Fn(lambda m, x: m.c(x.flatten(0, 1)).unflatten(0, (1, 3)), c=nn.Conv2d(1, 1, 2)),
    (1, 3, 1, 4, 3),
    axes=(1, 3, 4),
)
add(
    "temporal shift",
    lambda: Fn(
        lambda m, x: m.c(torch.cat([F.pad(x[:, :1], (0, 0, 1, 0))[:, :, :-1], x[:, 1:]], 1)), c=nn.Conv2d(2, 1, 1)
    ),
    (1, 2, 4, 2),
)
add(
    "axial attention",
    lambda: Fn(lambda m, x: sdpa(q := m.q(x.movedim(1, 3)), q, q).movedim(3, 1), q=nn.Linear(2, 2)),
    (1, 2, 3, 4),
)
add(
    "graph convolution on a fixed path",
    lambda: Fn(lambda m, x: m.l(m.a @ x), a=torch.ones(4, 4).tril(1).triu(-1), l=nn.Linear(2, 2)),
    (1, 4, 2),
    spreads_nan=False,
    **TOKENS,
)
add(
    "sparse adjacency",
    lambda: Fn(lambda m, x: torch.sparse.mm(m.a.to_sparse(), x[0])[None], a=torch.eye(4).roll(1, 0)),
    (1, 4, 2),
    spreads_nan=False,
    **TOKENS,
)
