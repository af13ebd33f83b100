"""The receptive field engine on networks that hypothesis puts together, against the oracle and against closed forms."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from receptive_field_examination import Examination
from receptive_field_oracle import Case, fixed_seed, randn_inputs
from torch import Tensor, nn

from dlwidgets.compute.receptive_field import trace

LARGEST = 12
"""Positions along an axis above which a random network must not grow."""

CONVS = {1: nn.Conv1d, 2: nn.Conv2d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
AVG_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d}
ADAPTIVE = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}


class Apply(nn.Module):
    """A function as a module, with an optional fixed tensor."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Joined(nn.Module):
    """Two branches from one input, cropped to the same positions and joined."""

    def __init__(self, left: nn.Module, right: nn.Module, how: str) -> None:
        super().__init__()
        self.left, self.right, self.how = left, right, how

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.left(x), self.right(x)
        sizes = [min(p, q) for p, q in zip(a.shape[2:], b.shape[2:], strict=True)]
        for axis, size in enumerate(sizes):
            a, b = a.narrow(axis + 2, 0, size), b.narrow(axis + 2, b.shape[axis + 2] - size, size)
        if self.how == "cat":
            return torch.cat([a, b], 1)
        if a.shape[1] != b.shape[1]:
            a, b = a[:, :1], b[:, -1:]
        if self.how == "write":
            a = a.clone()
            a[..., ::2] = b[..., ::2]
            return a
        joint: Any = {"add": torch.add, "mul": torch.mul, "max": torch.maximum}[self.how]
        return joint(a, b)


@dataclass(frozen=True)
class Step:
    """One step of a recipe: an op by name, with numbers to build it from; ``branches`` for a joint."""

    op: str
    a: int
    b: int
    c: int
    branches: tuple[tuple[Step, ...], ...] = ()


OPS = [
    "conv",
    "grouped conv",
    "transposed conv",
    "max pool",
    "avg pool",
    "adaptive",
    "upsample",
    "linear upsample",
    "pad",
    "roll",
    "flip",
    "slice",
    "relu",
    "tanh",
    "norm",
    "instance norm",
    "shuffle",
    "split",
    "transpose",
    "cumsum",
    "softmax",
    "mask",
    "excite",
    "fixed kernel",
    "linear",
    "unfold",
    "reshape",
    "index",
    "in place",
]
HOWS = ["cat", "add", "mul", "max", "write"]


def make(step: Step, x: Tensor) -> nn.Module:
    """The module of a step for an input like ``x``; whether it fits is found out by running it."""
    dims, channels, last = x.dim() - 2, x.shape[1], x.dim() - 1
    a, b, c = step.a, step.b, step.c
    axis = 2 + a % dims
    mode: Any = ["zeros", "reflect", "replicate", "circular"][(a + b + c) % 4]
    builders: dict[str, Any] = {
        "conv": lambda: CONVS[dims](channels, 1 + c % 3, 1 + a, 1 + b % 3, c % 3, 1 + (a + c) % 2, padding_mode=mode),
        "grouped conv": lambda: CONVS[dims](channels, channels * (1 + c % 2), 1 + a, 1 + b % 2, c % 2, groups=channels),
        "transposed conv": lambda: TRANSPOSED[dims](channels, 1 + c % 2, 1 + a, 1 + b % 3, c % 2, min(b % 3, c % 2)),
        "max pool": lambda: MAX_POOLS[dims](2 + a % 2, 1 + b % 3, c % 2, ceil_mode=bool(b % 2)),
        "avg pool": lambda: AVG_POOLS[dims](2 + a % 2, 1 + b % 3, c % 2, ceil_mode=bool(a % 2)),
        "adaptive": lambda: ADAPTIVE[dims](1 + a + b),
        "upsample": lambda: nn.Upsample(scale_factor=(2, 1.5, 0.7)[a % 3], mode=("nearest", "nearest-exact")[b % 2]),
        "linear upsample": lambda: nn.Upsample(
            scale_factor=(2, 1.5, 0.7)[a % 3], mode=("linear", "bilinear")[dims - 1], align_corners=bool(b % 2)
        ),
        "pad": lambda: Apply(lambda y: F.pad(y, (a % 3, b % 3), mode=mode.replace("zeros", "constant"))),
        "roll": lambda: Apply(lambda y: y.roll(1 + b, axis)),
        "flip": lambda: Apply(lambda y: y.flip(axis)),
        "slice": lambda: Apply(lambda y: y[..., a % 3 :: 1 + b % 2]),
        "relu": lambda: nn.ReLU(inplace=bool(a % 2)),
        "tanh": nn.Tanh,
        "norm": lambda: (nn.BatchNorm1d, nn.BatchNorm2d)[dims - 1](channels).eval(),
        "instance norm": lambda: (nn.InstanceNorm1d, nn.InstanceNorm2d)[dims - 1](channels),
        "shuffle": lambda: Apply(lambda y: y.unflatten(1, (channels // 2, 2)).transpose(1, 2).flatten(1, 2)),
        "split": lambda: Apply(lambda y: torch.cat([y[:, 1:].roll(1 + b, axis), y[:, :1]], 1)),
        "transpose": lambda: Apply(lambda y: y.transpose(last, last - 1) if dims == 2 else y.flip(2)),
        "cumsum": lambda: Apply(lambda y: y.cumsum(axis)),
        "softmax": lambda: nn.Softmax(1 + a % (dims + 1)) if varies(x, 1 + a % (dims + 1)) else nn.Identity(),
        "mask": lambda: Apply(
            lambda y: y * (torch.arange(y.shape[axis]) % (2 + b % 2) != 0).to(y)[(..., *[None] * (last - axis))]
        ),
        "excite": lambda: Apply(lambda y: y * y.mean(tuple(range(2, last + 1)), keepdim=True)),
        "fixed kernel": lambda: Apply(
            lambda y: F.conv1d(
                y.flatten(0, 1).reshape(-1, 1, y.shape[-1]), torch.tensor([[[1.0, 0, 2]]]).to(y), stride=1 + b % 2
            ).reshape(*y.shape[:-1], -1)
        ),
        "linear": lambda: nn.Linear(x.shape[-1], 1 + a + b),
        "unfold": lambda: Apply(lambda y: y.unfold(last, 2 + a % 2, 1 + b % 2).amax(-1)),
        "reshape": lambda: Apply(lambda y: y.unflatten(last, (2, -1)).transpose(-1, -2).flatten(-2)),
        "index": lambda: Apply(lambda y: y.index_select(axis, torch.tensor([a, b, a, c]) % y.shape[axis])),
        "in place": lambda: Apply(lambda y: _added(y, a, b)),
    }
    module: nn.Module = builders[step.op]()
    return module


def varies(x: Tensor, axis: int) -> bool:
    """Whether a softmax over the axis says anything: that of equal numbers (copies of one) is constant."""
    return bool((x.amax(axis) - x.amin(axis)).max() > 1e-6)


def _added(x: Tensor, a: int, b: int) -> Tensor:
    x = x.clone()
    x[..., a % 3 :].add_(x[..., b % 2 : b % 2 + 1])
    x[..., :1] = 0.5
    return x


def grow(recipe: tuple[Step, ...], x: Tensor) -> nn.Sequential:
    """The steps of a recipe that fit one after the other, starting from an input like ``x``."""
    modules: list[nn.Module] = []
    for step in recipe:
        if step.branches:
            module: nn.Module = Joined(
                grow(step.branches[0], x), grow(step.branches[1], x), HOWS[(step.a + 4 * step.b) % len(HOWS)]
            )
        else:
            module = make(step, x) if fits(step, x) else nn.Identity()
        with torch.no_grad():
            y = module.eval()(x.clone())
        if y.numel() > 0 and max(y.shape[2:]) <= LARGEST and y.shape[1] <= 6:
            modules.append(module)
            x = y
    return nn.Sequential(*modules)


def fits(step: Step, x: Tensor) -> bool:
    """Whether an op takes an input of this shape."""
    try:
        with torch.no_grad():
            make(step, x).eval()(x.clone())
    except (RuntimeError, ValueError, AssertionError, NotImplementedError):
        return False
    return True


numbers = st.integers(0, 3)
plain_steps = st.builds(Step, st.sampled_from(OPS), numbers, numbers, numbers)


def joints(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    """Two short branches and the way they come together."""
    branch = st.lists(inner, max_size=3).map(tuple)
    return st.builds(Step, st.just("join"), numbers, numbers, numbers, st.tuples(branch, branch))


flat = st.one_of(plain_steps, plain_steps, plain_steps, joints(plain_steps))
steps = st.one_of(plain_steps, plain_steps, joints(flat))
recipes = st.lists(steps, min_size=2, max_size=6).map(tuple)
shapes = st.sampled_from([(1, 2, 9), (1, 1, 12), (1, 3, 6), (1, 2, 4, 5), (1, 1, 6, 5)])


# Not made smaller when it fails: each try runs a network thousands of times.
@settings(
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(recipes, shapes)
def test_random_networks_agree_with_the_oracle(recipe: tuple[Step, ...], shape: tuple[int, ...]) -> None:
    with fixed_seed(0):
        network = grow(recipe, torch.randn(shape))
    case = Case("random", lambda: deepcopy(network), randn_inputs(shape), draws=150, differentiable=False)
    examination = Examination(case, most_units=12)
    assert not examination.faults, f"{case.model()}\n" + "\n".join(examination.faults)


# Closed forms for plain stacks: Araujo, Norris and Sim, Distill 2019

layer_numbers = st.tuples(
    st.sampled_from(["conv", "max", "avg"]), st.integers(1, 5), st.integers(1, 3), st.integers(0, 4), st.integers(1, 3)
)


def plain_stack(
    numbers: list[tuple[str, int, int, int, int]], size: int
) -> tuple[nn.Sequential, list[tuple[int, ...]]]:
    """A 1-D stack of those layers that fit an input of ``size``, and their (kernel, stride, padding, dilation)."""
    modules: list[nn.Module] = []
    kept: list[tuple[int, ...]] = []
    for kind, kernel, stride, padding, dilation in numbers:
        if kind != "conv":
            padding = min(padding, kernel // 2)
        if kind == "avg":
            dilation = 1
        after = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        if after < 1 or (kind != "conv" and size + 2 * padding < dilation * (kernel - 1) + 1):
            continue
        size = after
        kept.append((kernel, stride, padding, dilation))
        if kind == "conv":
            modules.append(nn.Conv1d(1, 1, kernel, stride, padding, dilation))
        elif kind == "max":
            modules.append(nn.MaxPool1d(kernel, stride, padding, dilation))
        else:
            modules.append(nn.AvgPool1d(kernel, stride, padding))
    return nn.Sequential(*modules), kept


def seen_by(unit: int, kept: list[tuple[int, ...]], sizes: list[int]) -> set[int]:
    """The positions under a unit, one set per layer, padding left out layer by layer."""
    seen = {unit}
    for (kernel, stride, padding, dilation), size in zip(reversed(kept), reversed(sizes), strict=True):
        seen = {
            place
            for position in seen
            for tap in range(kernel)
            if 0 <= (place := position * stride - padding + tap * dilation) < size
        }
    return seen


@settings(max_examples=60)
@given(st.lists(layer_numbers, min_size=1, max_size=6), st.integers(5, 120))
def test_plain_stacks_follow_the_recurrences(numbers: list[tuple[str, int, int, int, int]], size: int) -> None:
    model, kept = plain_stack(numbers, size)
    if not kept:
        model = nn.Sequential(nn.Identity())
    net = trace(model, (1, 1, size))
    field, jump, padding = 1, 1, 0
    sizes = []
    layers = [layer for layer in net.layers if isinstance(dict(model.named_modules()).get(layer.name), tuple(PLAIN))]
    assert len(layers) == len(kept)
    for layer, (kernel, stride, pad, dilation) in zip(layers, kept, strict=True):
        sizes.append(size)
        size = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        field += dilation * (kernel - 1) * jump
        padding += pad * jump
        jump *= stride
        assert tuple(layer.output_shape) == (1, 1, size)
        assert (layer.size, layer.jump, layer.padding) == ((field,), (jump,), (padding,))
    for unit in {0, size // 2, size - 1}:
        found = net.field((unit,))
        seen = seen_by(unit, kept, sizes)
        assert set(found.mask.nonzero().flatten().tolist()) == seen
        assert found.status == "exact"
        assert found.box == (((min(seen), max(seen) + 1),) if seen else None)


PLAIN = (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d)


@settings(max_examples=25)
@given(st.lists(layer_numbers, min_size=1, max_size=4), st.lists(layer_numbers, min_size=1, max_size=4))
def test_axes_of_a_plain_stack_are_independent(
    rows: list[tuple[str, int, int, int, int]], columns: list[tuple[str, int, int, int, int]]
) -> None:
    """A 2-D stack with other numbers per axis sees the product of what two 1-D stacks see."""
    _, down = plain_stack([("conv", *numbers[1:]) for numbers in rows], 30)
    _, across = plain_stack([("conv", *numbers[1:]) for numbers in columns], 25)
    depth = min(len(down), len(across))
    down, across = down[:depth], across[:depth]
    pairs: Any = [tuple(zip(one, other, strict=True)) for one, other in zip(down, across, strict=True)]
    model = nn.Sequential(*(nn.Conv2d(1, 1, *pair) for pair in pairs), nn.Identity())
    net = trace(model, (1, 1, 30, 25))
    heights, widths = [30], [25]
    for (kernel, stride, pad, dilation), sizes in [*((k, heights) for k in down), *((k, widths) for k in across)]:
        sizes.append((sizes[-1] + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1)
    unit = (heights[-1] // 2, widths[-1] - 1)
    expected = torch.zeros(30, 25, dtype=torch.bool)
    for row in seen_by(unit[0], down, heights[:-1]):
        expected[row, sorted(seen_by(unit[1], across, widths[:-1]))] = True
    assert torch.equal(net.field(unit).mask, expected)
