"""What is drawn of an input, told from its shape."""

import pytest
import torch

from dlwidgets.compute.dropout.inputs_drawn import MAX_SIDE, input_drawn


@pytest.mark.parametrize(
    ("item", "kind", "shape", "note"),
    [
        ((1, 28, 28), "image", (28, 28), ""),
        ((28, 20), "image", (28, 20), ""),
        ((3, 32, 30), "image", (32, 30, 3), ""),
        ((16, 8, 8), "image", (8, 8), "channel 1 of 16"),
        ((1, 500), "line", (1, 500), ""),
        ((2, 500), "line", (2, 500), ""),
        ((7, 500), "line", (3, 500), "channels 1 to 3 of 7"),
        ((100,), "line", (1, 100), ""),
        ((4,), "bars", (1, 4), ""),
        ((1,), "bars", (1, 1), ""),
    ],
)
def test_shapes_are_drawn_as_what_they_look_like(
    item: tuple[int, ...], kind: str, shape: tuple[int, ...], note: str
) -> None:
    batch = torch.rand(5, *item)
    drawn = input_drawn(batch, 5, 3)
    assert drawn is not None
    assert (drawn.kind, tuple(drawn.values.shape), drawn.note) == (kind, shape, note)
    if shape[-1] != 3 and "channel" not in note:
        torch.testing.assert_close(drawn.values.flatten(), batch[3].flatten())


def test_the_tensor_with_an_entry_for_each_prediction_is_taken() -> None:
    image, scale = torch.rand(4, 1, 6, 6), torch.rand(2)
    for inputs in ((scale, image), {"scale": scale, "image": image}):
        drawn = input_drawn(inputs, 4, 1)
        assert drawn is not None
        assert torch.equal(drawn.values, image[1, 0])
    assert input_drawn((scale,), 4) is None
    assert input_drawn(("text", 3), 1) is None
    single = input_drawn(torch.rand(6), 1)
    assert single is not None
    assert single.kind == "bars"
    assert input_drawn(torch.rand(4, 3, 5, 6, 7), 4) is None
    assert input_drawn(torch.rand(4, 0), 4) is None
    assert input_drawn(torch.rand(4, 3, dtype=torch.complex64), 4) is None


def test_colours_and_tokens_and_half_precision() -> None:
    red = torch.zeros(1, 3, 4, 4, dtype=torch.float16)
    red[:, 0] = 1
    drawn = input_drawn(red, 1)
    assert drawn is not None
    assert drawn.values.dtype == torch.uint8
    assert drawn.values[0, 0].tolist() == [255, 0, 0]
    normalised = input_drawn(torch.stack([torch.full((4, 4), value) for value in (-2.0, 0.0, 2.0)]).unsqueeze(0), 1)
    assert normalised is not None
    assert normalised.values[0, 0].tolist() == [0, 128, 255]
    tokens = input_drawn(torch.tensor([[5, 2, 9]]), 1)
    assert tokens is not None
    assert tokens.values.tolist() == [[5.0, 2.0, 9.0]]


def test_large_pictures_are_thinned_out() -> None:
    drawn = input_drawn(torch.rand(1, 1, 1500, 700), 1)
    assert drawn is not None
    assert max(drawn.values.shape) <= MAX_SIDE
    assert tuple(drawn.values.shape) == (500, 234)
