"""ReceptiveFieldViewer against models and inputs that are out to break it: nothing of the user's changes, ever."""

import random
from collections.abc import Callable
from pathlib import Path
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

    num_calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.bias = nn.Parameter(torch.ones(1))
        self.register_buffer("num_calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.num_calls.add_(1)
        self.conv.weight.data = torch.renorm(self.conv.weight.data, 2, 0, 0.1)
        self.bias.data.mul_(2)
        return self.conv(x) + self.bias + torch.rand(1) + float(np.random.rand()) + random.random()  # noqa: NPY002


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


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.MaxPool2d(2, ceil_mode=True), "layer 0: ceil_mode is True, expected False"),
        (nn.AvgPool2d(2, ceil_mode=True), "layer 0: ceil_mode is True, expected False"),
        (
            nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
            "layer 0: padding_mode is .circular., expected .zeros.",
        ),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "layer 0: padding_mode is .reflect., expected .zeros."),
    ],
    ids=str,
)
def test_from_layers_drops_no_setting_silently(recorder: Any, num_models: Any, layer: nn.Module, words: str) -> None:
    before = num_models()
    with pytest.raises(ValueError, match=words):
        ReceptiveFieldViewer.from_layers([layer])
    assert num_models() == before


def test_export_refuses_what_it_cannot_write_and_the_viewer_goes_on(recorder: Any, tmp_path: Path) -> None:
    viewer = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), SHAPE)
    viewer.wait(LONG)
    for wrong in (None, 5, b"page.html", ["page.html"]):
        with pytest.raises(TypeError, match=rf"path must be the path of a file to write, got {type(wrong).__name__}"):
            viewer.export(wrong)  # type: ignore[arg-type]
    for path in (tmp_path, tmp_path / "no such folder" / "page.html", tmp_path / ("z" * 300)):
        with pytest.raises(OSError, match=r"path: the page cannot be written"):
            viewer.export(path)
    with pytest.raises(ValueError, match=r"path: the page cannot be written to .*null byte"):
        viewer.export(f"{tmp_path}/a\0b.html")
    assert (viewer.error, viewer.export(tmp_path / "page.html").stat().st_size > 1000) == ("", True)
    viewer.close()
    with pytest.raises(ValueError, match=r"export: the widget was closed"):
        viewer.export(tmp_path / "late.html")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["page.html"]
