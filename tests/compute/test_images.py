"""Images of every sort become [0, 1] floats or one clear sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlwidgets.compute.images import MAX_SIDE, load_image, resized, shrunk, to_picture

GRADIENT = torch.arange(12, dtype=torch.uint8).reshape(2, 6) * 20


def test_the_photograph_needs_no_file_of_ours() -> None:
    image = load_image()
    assert tuple(image.shape) == (3, 427, 640)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1


@pytest.mark.parametrize("kind", ["path", "str", "pil", "numpy", "tensor", "channels last", "batch of one", "bytes"])
def test_the_same_picture_from_everything_that_holds_one(kind: str, tmp_path: Path) -> None:
    colours = torch.stack([GRADIENT, GRADIENT.flip(0), GRADIENT.flip(1)])
    array = colours.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "image.png")
    source = {
        "path": tmp_path / "image.png",
        "str": str(tmp_path / "image.png"),
        "pil": Image.fromarray(array),
        "numpy": array,
        "tensor": colours,
        "channels last": torch.from_numpy(array),
        "batch of one": colours[None],
        "bytes": colours / 255,
    }[kind]
    assert torch.equal(load_image(source), colours / 255)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (GRADIENT, GRADIENT[None] / 255),
        (GRADIENT.numpy(), GRADIENT[None] / 255),
        (GRADIENT > 100, (GRADIENT > 100)[None].float()),
        (GRADIENT.half() / 256, GRADIENT[None] / 256),
        (GRADIENT.long(), GRADIENT[None] / 220),  # 0 to 220 is mapped to 0 to 1
        (GRADIENT.numpy().astype(np.uint16), GRADIENT[None] / 220),
        (GRADIENT.float() - 110, GRADIENT[None] / 220),
        (torch.full((2, 2), 7.0), torch.full((1, 2, 2), 0.5)),
        (torch.full((2, 2), 7), torch.full((1, 2, 2), 0.5)),
        (torch.rand(4, 5, 6)[:, :, :] * 0 + 1, torch.ones(3, 5, 6)),  # alpha is dropped
        (Image.new("RGBA", (3, 2), (255, 0, 0, 9)), torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 2, 3)),
        (Image.new("1", (3, 2), 1), torch.ones(1, 2, 3)),
        (Image.new("P", (3, 2), 0), torch.zeros(3, 2, 3)),
        (Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)), torch.tensor([[[0.0, 1.0]]])),
        (torch.zeros(1, 1), torch.zeros(1, 1, 1)),
    ],
)
def test_numbers_of_every_type(source: object, expected: torch.Tensor) -> None:
    image = load_image(source)
    assert image.dtype == torch.float32
    assert torch.allclose(image, expected.float(), atol=1e-6)
    assert image.is_contiguous()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (torch.zeros(0, 3), ValueError, r"image has no pixels, its shape is \(0, 3\)"),
        (np.zeros((0, 4, 3)), ValueError, r"image has no pixels"),
        (torch.tensor(1.0), ValueError, r"image has shape \(\), expected \(height, width\)"),
        (torch.zeros(5), ValueError, r"image has shape \(5,\)"),
        (torch.zeros(2, 5, 6), ValueError, r"image has shape \(2, 5, 6\)"),
        (torch.zeros(2, 3, 5, 6), ValueError, r"image has shape \(2, 3, 5, 6\)"),
        (torch.tensor([[1.0, float("nan")]]), ValueError, "image holds 1 values that are NaN or infinite"),
        (np.array([[np.inf, -np.inf]]), ValueError, "image holds 2 values that are NaN or infinite"),
        (torch.zeros(2, 2, dtype=torch.complex64), TypeError, "image must hold real numbers, got torch.complex64"),
        (np.zeros((2, 2), dtype=complex), TypeError, "image must hold real numbers, got complex128"),
        (np.array([["a"]]), TypeError, "image must hold real numbers"),
        (torch.zeros(2, 2, device="meta"), TypeError, "meta device"),
        (3, TypeError, "image must be a path, a PIL image, an array or a tensor, got int"),
        ("no/such.png", ValueError, "image: cannot read 'no/such.png' as an image"),
        ("bad\x00name", ValueError, "cannot read"),
    ],
)
def test_what_is_no_image_is_refused_with_its_name(source: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        load_image(source)


def test_where_both_fit_arrays_have_channels_last_and_tensors_first() -> None:
    values = torch.rand(3, 4, 3)
    assert tuple(load_image(values).shape) == (3, 4, 3)
    assert torch.equal(load_image(values), values)
    assert torch.equal(load_image(values.numpy()), values.permute(2, 0, 1))


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"cannot read .*note.txt"):
        load_image(tmp_path / "note.txt")
    with pytest.raises(ValueError, match="cannot read"):
        load_image(tmp_path)


def test_a_source_is_never_changed_or_shared() -> None:
    values = torch.rand(3, 4, 4)
    copy = values.clone()
    image = load_image(values)
    resized(image, 3, 4, 4).zero_()
    assert torch.equal(values, copy)


def test_resizing_keeps_the_middle_and_the_channels() -> None:
    image = torch.zeros(3, 10, 30)
    image[0, :, 10:20] = 1  # the middle third is red
    small = resized(image, 3, 5, 5)
    assert tuple(small.shape) == (3, 5, 5)
    assert small[0].mean() > 0.9
    assert small[1:].abs().max() == 0
    grey = resized(image, 1, 10, 30)
    assert torch.allclose(grey[0], 0.299 * image[0])
    assert torch.equal(resized(image, 5, 10, 30), image[[0, 1, 2, 0, 1]])
    assert torch.equal(resized(image, 3, 10, 30), image)


def test_only_huge_images_are_shrunk() -> None:
    assert tuple(shrunk(torch.zeros(1, 8, 4 * MAX_SIDE)).shape) == (1, 2, MAX_SIDE)
    small = torch.zeros(3, 20, 30)
    assert shrunk(small) is small


@pytest.mark.parametrize(
    ("shape", "axes", "picture"),
    [
        ((2, 3, 4, 5), (2, 3), (4, 5, 3)),
        ((2, 8, 4, 5), (2, 3), (4, 5, 3)),
        ((2, 8, 7), (2,), (1, 7, 3)),
        ((2, 7), (1,), (1, 7, 3)),
        ((2, 9), (), (1, 1, 3)),
        ((2, 3, 6, 4, 5), (2, 3, 4), (4, 5, 3)),
        ((2, 4, 5, 3), (1, 2), (4, 5, 3)),
        ((2, 1, 4, 5), (-2, -1), (4, 5, 3)),
    ],
)
def test_every_input_can_be_looked_at(shape: tuple[int, ...], axes: tuple[int, ...], picture: tuple[int, ...]) -> None:
    shown = to_picture(torch.rand(shape), axes)
    assert shown.shape == picture
    assert shown.dtype == np.uint8


def test_colours_are_kept_and_other_values_drawn_grey() -> None:
    values = torch.rand(1, 3, 4, 5)
    assert np.array_equal(to_picture(values, (2, 3)), (255 * values[0]).round().byte().permute(1, 2, 0).numpy())
    single = to_picture(torch.tensor([[[[0.0, 10.0, float("nan")]]]]), (2, 3))
    assert single[0, :, 0].tolist() == [0, 255, 0]
    assert np.array_equal(to_picture(torch.randint(0, 9, (1, 6)), (1,)).std(axis=2), np.zeros((1, 6)))
