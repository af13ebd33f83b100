"""How the architectures of the receptive field tests are written down (`receptive_field_zoo_*.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from receptive_field_oracle import Case, randn_inputs
from torch import Tensor, nn

TOKENS: dict[str, Any] = {"axes": (1,), "output_axes": (1,)}
"""(batch, position, feature) in and out."""


class Fn(nn.Module):
    """A forward written as a function of (module, *arguments); keywords become modules, parameters, buffers."""

    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            if isinstance(member, Tensor) and not isinstance(member, nn.Parameter):
                self.register_buffer(name, member.clone())
            else:
                setattr(self, name, member)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.function(self, *arguments, **keywords)


class Zoo(list[Case]):
    """A list of cases, with short ways to write one."""

    def add(self, name: str, build: Callable[..., nn.Module], inputs: Any, **options: Any) -> None:
        """List a case; ``inputs`` is the shape of one normal tensor or a function of a generator."""
        self.append(Case(name, build, inputs if callable(inputs) else randn_inputs(inputs), **options))

    def fn(self, name: str, function: Callable[..., Any], inputs: Any, **options: Any) -> None:
        """List a case without weights: ``function`` of the arguments alone."""
        self.add(name, lambda: Fn(lambda module, *x: function(*x)), inputs, **options)


def integers(num: int, *shape: int) -> Callable[[torch.Generator], tuple[Tensor]]:
    """Draws integers below ``num``."""
    return lambda generator: (torch.randint(0, num, shape, generator=generator),)


def several(*shapes: tuple[int, ...]) -> Callable[[torch.Generator], tuple[Tensor, ...]]:
    """Draws one normal tensor per shape."""
    return lambda generator: tuple(torch.randn(*shape, generator=generator) for shape in shapes)
