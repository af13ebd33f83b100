"""Outputs of any shape as pictures, and pictures as bytes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlwidgets.compute.latent_space.pictures import (
    MAX_SIDE,
    arranged,
    image_scale,
    scales_differ,
    shrunk,
    to_bytes,
    value_range,
)


@pytest.mark.parametrize(
    ("form", "options", "shown", "curve"),
    [
        ((8, 6), {}, (8, 6), False),
        ((1, 8, 6), {}, (8, 6), False),
        ((8, 6, 1), {}, (8, 6), False),
        ((3, 8, 6), {}, (8, 6, 3), False),
        ((8, 6, 3), {}, (8, 6, 3), False),
        ((5, 8, 6), {}, (8, 6), False),
        ((2, 3, 8, 6), {}, (8, 6, 3), False),
        ((50,), {}, (1, 50), True),
        ((1, 50), {}, (1, 50), True),
        ((), {}, (1, 1), True),
        ((48,), {"like": (8, 6)}, (8, 6), False),
        ((144,), {"like": (3, 8, 6)}, (8, 6, 3), False),
        ((48,), {"like": (7, 7)}, (1, 48), True),
        ((48,), {"picture_shape": (6, 8)}, (6, 8), False),
        ((8, 6), {"picture_shape": (48,)}, (1, 48), True),
    ],
)
def test_each_shape_is_shown_as_one_expects(form, options, shown, curve):
    outputs = torch.rand(4, *form, generator=torch.Generator().manual_seed(0))
    pictures, is_curve = arranged(outputs, **options)
    assert tuple(pictures.shape[1:]) == shown
    assert is_curve is curve


def test_colours_keep_their_places_and_other_channels_are_averaged():
    outputs = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).float()
    colours, _ = arranged(outputs)
    assert all(colours[1, 2, 3, c] == outputs[1, c, 2, 3] for c in range(3))
    grey, _ = arranged(outputs[:, :2])
    assert grey[1, 2, 3] == (outputs[1, 0, 2, 3] + outputs[1, 1, 2, 3]) / 2


def test_a_shape_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"expected a shape of 48 values.* got \(7, 7\)"):
        arranged(torch.zeros(2, 48), picture_shape=(7, 7))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_bytes_are_the_nearest_of_256_levels(values):
    pictures = torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)
    low, high = value_range(pictures)
    found = to_bytes(pictures, (low, high), curve=True).values[0, 0].double()
    back = low + found / 255 * (high - low)
    assert bool((back - pictures[0, 0].clamp(low, high)).abs().max() <= 0.5001 * (high - low) / 255 + 1e-9)


def test_unit_values_keep_their_range_and_others_are_stretched():
    unit = torch.tensor([[[0.2, 0.4]]])
    assert value_range(unit) == (0.0, 1.0)
    assert value_range(unit, None, 10 * unit) == (pytest.approx(0.2), 4.0)
    assert value_range(torch.full((1, 2, 2), 7.0)) == (6.5, 7.5)
    assert value_range(torch.full((1, 2, 2), torch.nan)) == (0.0, 1.0)


def test_what_is_not_finite_is_marked():
    pictures = torch.rand(3, 2, 2)
    pictures[1, 0, 1] = torch.nan
    made = to_bytes(pictures, (0.0, 1.0), curve=False)
    assert made.valid.tolist() == [True, False, True]
    assert made.values[1].sum() == 0


def test_large_pictures_shrink_by_areas():
    large = torch.rand(1, 2 * MAX_SIDE, MAX_SIDE, 3)
    small = shrunk(large)
    assert small.shape == (1, MAX_SIDE, MAX_SIDE // 2, 3)
    assert torch.allclose(small[0, 3, 5], large[0, 6:8, 10:12].mean((0, 1)))
    assert shrunk(large[:, :5, :5]).shape == (1, 5, 5, 3)


def test_pictures_shrink_to_a_number_of_values():
    large = torch.rand(2, MAX_SIDE, MAX_SIDE, 3)
    small = shrunk(large, 5000)
    assert 4500 < small[0].numel() < 5100
    assert small.shape[1] == small.shape[2]
    assert shrunk(small, small[0].numel()).shape == small.shape


@pytest.mark.parametrize(
    ("image_values", "decoded_values", "differ", "scale"),
    [
        (torch.tensor([0, 100, 255], dtype=torch.uint8), [0.0, 0.9], True, 255),
        (torch.tensor([0, 100, 200], dtype=torch.uint8), [0.0, 0.9], True, 255),
        ([0.0, 16.0], [0.0, 1.0], True, 16),
        ([0.0, 16.0, math.nan], [0.2, math.inf], True, 16),
        ([0.0, 255.0], [-0.4, 0.3], True, 1),  # an untrained linear decoder
        ([-20.0, 255.0], [0.0, 1.0], True, 1),
        ([0.0, 1.0], [0.0, 300.0], True, 1),
        (torch.tensor([0, 1], dtype=torch.uint8), [0.0, 0.05], False, 1),
        (torch.tensor([0, 255], dtype=torch.uint8), [0.0, 250.0], False, 1),
        ([-2.0, 3.0], [-0.01, 0.01], False, 1),  # standardised images, a collapsed decoder
        ([0.0, 5.0], [0.0, 1.0], False, 1),
        ([math.nan], [math.nan], False, 1),
    ],
)
def test_when_images_and_decoded_pictures_are_on_one_scale(image_values, decoded_values, differ, scale):
    images, decoded = torch.as_tensor(image_values), torch.tensor(decoded_values)
    assert scales_differ(images, decoded) is differ
    assert scales_differ(decoded, images) is differ
    assert image_scale(images, decoded) == scale
