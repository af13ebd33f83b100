"""ReceptiveFieldViewer against models and inputs that are out to break it: nothing of the user's changes, ever."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from receptive_field_oracle import photograph
from torch import Tensor, nn

from dlwidgets.compute.receptive_field import effective_receptive_field
from dlwidgets.widgets.receptive_field import ReceptiveFieldViewer

LONG = 120.0
SHAPE = (1, 3, 12, 12)


def network() -> nn.Sequential:
    """In train mode, with statistics that a careless run would move."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3, stride=2))


class WritesWeights(nn.Module):
    """Constrains its weights on the way, as EEG networks do, counts its calls and draws numbers of every sort."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.register_buffer("num_calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.num_calls += 1
        self.conv.weight.data = torch.renorm(self.conv.weight.data, 2, 0, 0.1)
        self.conv.bias.data.mul_(2)
        return self.conv(x) + torch.rand(1) + float(np.random.rand()) + random.random()  # noqa: NPY002


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model)  # type: ignore[return-value]


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile()
    return model


@pytest.mark.parametrize(
    "make",
    [
        WritesWeights,
        lambda: torch.jit.script(network()),
        lambda: nn.Sequential(torch.jit.script(network()), nn.ReLU()),
        lambda: compiled(network()),
        lambda: compiled_in_place(network()),
        lambda: nn.Sequential(compiled(network()), nn.ReLU()),
        lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Conv2d(3, 2, 3)),
    ],
    ids=["writes weights", "scripted", "scripted part", "compiled", "compiled in place", "compiled part", "in place"],
)
def test_models_that_write_draw_or_are_compiled_stay_bitwise_as_they_were(
    recorder: Any, make: Callable[[], nn.Module]
) -> None:
    model = make()
    example = torch.randn(SHAPE)
    before = photograph(model, [example])
    viewer = ReceptiveFieldViewer(model, example, layer=0)
    viewer.wait(LONG)
    viewer.channel = 1
    viewer.wait(LONG)
    viewer._effective_choice.value = True
    viewer.wait(LONG)
    assert (viewer.error, viewer._areas.value != "") == ("", True)
    assert viewer._look is not None
    assert viewer._look.picture.any()  # the activations of the run were seen
    viewer.close()
    assert photograph(model, [example]) == before


def test_effective_field_of_a_scripted_model_leaves_its_statistics_alone() -> None:
    model = torch.jit.script(network())
    inputs = torch.rand(2, *SHAPE[1:])
    before = photograph(model, [inputs])
    assert effective_receptive_field(model, inputs, (1, 1)).num_inputs == 2
    assert photograph(model, [inputs]) == before
