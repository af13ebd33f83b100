"""How values travel between dropouts, activations and normalisations, one step at a time."""

from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

_ACTIVATIONS = """
    celu elu gelu hardsigmoid hardshrink hardswish hardtanh leaky_relu log_sigmoid mish prelu relu relu6 rrelu selu
    sigmoid silu softplus softshrink softsign tanh tanhshrink threshold"""
_LINEAR = """
    linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d matmul mm bmm addmm __matmul__"""
_SAME_VALUES = """
    view reshape flatten unflatten permute transpose t squeeze unsqueeze contiguous to float double clone swapaxes
    movedim __getitem__"""
_POOLING = """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d pad interpolate"""
_FUNCTION_STEPS = {
    **dict.fromkeys(_ACTIVATIONS.split(), "activation"),
    **dict.fromkeys(_LINEAR.split(), "linear"),
    **dict.fromkeys(_SAME_VALUES.split(), "same"),
    **dict.fromkeys(_POOLING.split(), "pool"),
    "batch_norm": "batch_norm",
}

_ACTIVATION_MODULES = """
    CELU ELU GELU Hardsigmoid Hardshrink Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU ReLU ReLU6 RReLU SELU
    Sigmoid SiLU Softplus Softshrink Softsign Tanh Tanhshrink Threshold"""
_LINEAR_MODULES = "Linear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d"
_POOLING_MODULES = """
    MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d
    AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d"""
_MODULE_STEPS = {
    "activation": _ACTIVATION_MODULES,
    "linear": _LINEAR_MODULES,
    "pool": _POOLING_MODULES,
    "same": "Identity Flatten Unflatten",
    "batch_norm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm",
}


def step_of_function(name: str) -> str:
    """ "activation", "linear", "batch_norm", "same" (values only move), "pool" (neighbours are mixed) or "other"."""
    return _FUNCTION_STEPS.get(name if name.startswith("__") else name.strip("_"), "other")


def step_of_module(module: nn.Module) -> str:
    """The same for a module, by its class."""
    for step, names in _MODULE_STEPS.items():
        if isinstance(module, tuple(getattr(nn, name) for name in names.split())):
            return step
    return "other"


@dataclass(frozen=True)
class Origin:
    """Where a value comes from.

    Attributes
    ----------
    activated
        From an activation, with nothing but dropouts, pooling and reshaping since.
    last
        The dropout it just passed, with nothing but reshaping since.
    spread
        Dropouts whose noise it carries through linear maps and activations.
    """

    activated: bool = False
    last: int | None = None
    spread: frozenset[int] = frozenset()


@dataclass
class Flow:
    """What is found out about dropouts, which go by number, while values travel.

    Attributes
    ----------
    after, before
        Those that receive an activation's output, and those whose output an activation receives.
    previous
        For a dropout that directly follows another one, that other one.
    before_batch_norm
        Those whose noise reaches a BatchNorm through at most linear maps and activations.
    """

    after: set[int] = field(default_factory=set)
    before: set[int] = field(default_factory=set)
    previous: dict[int, int] = field(default_factory=dict)
    before_batch_norm: set[int] = field(default_factory=set)

    def through(self, step: str, origin: Origin) -> Origin:
        """Where a value comes from after such a step."""
        if step == "same":
            return origin
        if step == "pool":
            return replace(origin, last=None)
        if step == "activation":
            number = origin.last
            while number is not None:
                self.before.add(number)
                number = self.previous.get(number)
            return Origin(activated=True, spread=origin.spread)
        if step == "linear":
            return Origin(spread=origin.spread)
        if step == "batch_norm":
            self.before_batch_norm |= origin.spread
        return Origin()

    def through_dropout(self, number: int, origin: Origin) -> Origin:
        """Where a value comes from after that dropout."""
        if origin.activated:
            self.after.add(number)
        if origin.last is not None:
            self.previous[number] = origin.last
        return replace(origin, last=number, spread=origin.spread | {number})

    def runs(self) -> list[list[int]]:
        """Dropouts that directly follow each other, longest chains only."""
        chains = []
        for number in sorted(set(self.previous) - set(self.previous.values())):
            chain = [number]
            while chain[0] in self.previous:
                chain.insert(0, self.previous[chain[0]])
            chains.append(chain)
        return chains

    def placement(self, number: int) -> Literal["before", "after"] | None:
        """ "after" or "before" the activation, None where there is none next to it."""
        return "after" if number in self.after else "before" if number in self.before else None
