"""Checkpointing, nested in every way, with several losses: each gradient goes to the call that it belongs to."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dlwidgets.compute.gradient_flow import watch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Nested(nn.Module):
    """Three levels, each checkpointed or not (None), with modules that are called on several of them."""

    def __init__(self, reentrant: tuple[bool | None, ...]) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first, self.tanh, self.gelu, self.head = nn.Linear(3, 3), nn.Tanh(), nn.GELU(), nn.Linear(3, 1)

    def at(self, level: int, run: Any, x: Tensor) -> Tensor:
        reentrant = self.reentrant[level]
        return run(x) if reentrant is None else checkpoint(run, x, use_reentrant=reentrant)

    def innermost(self, x: Tensor) -> Tensor:
        return self.tanh(self.tanh(x))

    def middle(self, x: Tensor) -> Tensor:
        return self.at(0, self.innermost, self.gelu(x))

    def outer(self, x: Tensor) -> Tensor:
        return self.at(1, self.middle, self.at(1, self.middle, self.gelu(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.at(2, self.outer, self.first(x)))


def gradients(model: nn.Module, step: Any, steps: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with watch(model, optimizer, every=1) as flow:
        for _ in range(steps):
            optimizer.zero_grad()
            step()
            optimizer.step()
    g = flow.result()
    assert flow.failure is None
    return g.gradient_norm, {entry.parameter: entry.gradient_norm for entry in g.shared}


@pytest.mark.parametrize("reentrant", list(itertools.product((None, False, True), repeat=3))[1:])
def test_checkpoints_inside_each_other(reentrant):
    found = []
    for how in ((None, None, None), reentrant):
        torch.manual_seed(0)
        model = Nested(how).double()
        x = torch.randn(4, 3).double()
        found.append(gradients(model, lambda model=model, x=x: model(x).pow(2).sum().backward())[0])
    assert not found[0].isnan().any()
    assert torch.allclose(*found, rtol=1e-12, atol=0)


class Twice(nn.Module):
    """An encoder that is called on two inputs, the first of which may be outside of the checkpoint."""

    def __init__(self, reentrant: bool, first_outside: bool) -> None:
        super().__init__()
        self.reentrant, self.first_outside = reentrant, first_outside
        self.first, self.encoder = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        encode: Any = lambda x: torch.tanh(self.encoder(x))  # noqa: E731
        a, b = self.first(a), self.first(b)
        left = encode(a) if self.first_outside else checkpoint(encode, a, use_reentrant=self.reentrant)
        return left, checkpoint(encode, b, use_reentrant=self.reentrant)


@pytest.mark.parametrize("first_outside", [False, True])
@pytest.mark.parametrize("how", ["one after the other", "again", "three forwards"])
def test_several_backward_passes_through_segments(how, first_outside):
    found = []
    for reentrant in (False, True):
        torch.manual_seed(0)
        model = Twice(reentrant, first_outside).double()
        a, b = torch.randn(2, 4, 3).double()

        def step(model: nn.Module = model, a: Tensor = a, b: Tensor = b) -> None:
            if how == "three forwards":
                losses = [x.pow(2).sum() for i in range(3) for x in model(a + i, b - i)]
                torch.stack(losses).sum().backward()
                return
            left, right = (x.pow(2).sum() for x in model(a, b))
            for _ in range(2 if how == "again" else 1):
                left.backward(retain_graph=True)
                (1e3 * right).backward(retain_graph=True)

        found.append(gradients(model, step))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-9, atol=0, equal_nan=True)
    assert set(found[0][1]) == set(found[1][1]) >= {"encoder.weight"}
    for name, norms in found[0][1].items():
        assert torch.allclose(norms[1], found[1][1][name][1], rtol=1e-9, atol=0), name
