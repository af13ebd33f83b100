"""Bad input that no table of cases names: shapes beyond memory."""

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
