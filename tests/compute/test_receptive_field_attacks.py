"""What no table of cases names: shapes beyond memory, models that write to themselves behind everybody's back."""

import pytest
import torch
from torch import nn

from dlwidgets.compute.receptive_field import trace


@pytest.mark.parametrize(
    "shape",
    [(10**6, 3, 10**6, 10**6), (1, 1, 2**62, 4), (2**63, 1), torch.Size((10**6, 3, 10**6, 10**6))],
    ids=str,
)
def test_a_shape_beyond_memory_is_refused_by_its_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"example of shape .* does not fit into memory") as caught:
        trace(nn.Conv2d(1, 1, 1), shape)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_weights_that_a_model_writes_through_data_stay_as_they_were() -> None:
    class Doubling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bias = nn.Conv2d(3, 2, 3), nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.bias.data.mul_(2)
            y = self.conv(x) + self.bias
            return y if float(y.detach().sum()) > 1e9 else y * 2  # which asks for numbers

    model = Doubling()
    trace(model, torch.randn(1, 3, 8, 8))
    assert model.bias.item() == 1.0
