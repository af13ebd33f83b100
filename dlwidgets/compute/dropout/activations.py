"""The elementwise activations that the simulation knows by name."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "abs": torch.abs,
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
"""What ``activation`` may be called. The first four are positively homogeneous, f(c x) = c f(x) for c >= 0: dropout
before and after them is the same."""


def activation_named(name: object) -> Callable[[Tensor], Tensor]:
    """The activation with that name; TypeError where it is no string, ValueError where nothing is called so."""
    if not isinstance(name, str):
        raise TypeError(f"activation must be a name such as 'relu', got {type(name).__name__}")
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(sorted(ACTIVATIONS))}; got {name!r}")
    return ACTIVATIONS[name]
