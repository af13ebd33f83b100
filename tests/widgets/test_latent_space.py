"""LatentSpaceExplorer: what reaches the browser, what the browser sends back, and what bad input does."""

import math
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlwidgets.compute.latent_space import Posterior
from dlwidgets.widgets.latent_space import LatentSpaceExplorer

LONG = 120.0
SD = 0.25
CODES = torch.tensor([[0.0, 0.0], [1.0, 0.5], [-0.5, 1.0], [0.5, -1.0], [-1.0, -0.5], [1.0, 1.0]], dtype=torch.float64)


def images_of(codes: Tensor) -> Tensor:
    """2 x 2 pictures that hold the first two numbers of a code as grey values, and as many of the others as fit."""
    return torch.sigmoid(torch.cat([codes, torch.zeros(len(codes), 4 - codes.shape[1])], 1)).reshape(-1, 2, 2)


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    """The codes that `images_of` was given, with a standard deviation of `SD`."""
    mean = torch.logit(images.flatten(1)[:, :2])
    return mean, torch.full_like(mean, 2 * math.log(SD))


def decode(codes: Tensor) -> Tensor:
    return images_of(codes.double())


def explore(**kwargs: Any) -> LatentSpaceExplorer:
    values = {"autoencoder": (encode, decode), "images": images_of(CODES), "labels": [0, 1, 0, 1, 0, 1], **kwargs}
    made = LatentSpaceExplorer(values.pop("autoencoder"), values.pop("images"), values.pop("labels"), **values)
    made.wait(LONG)
    return made


@pytest.fixture
def explorer(recorder: Any) -> Iterator[LatentSpaceExplorer]:
    made = explore()
    yield made
    made.close()


def test_the_grid_holds_the_decoders_pictures(explorer: LatentSpaceExplorer) -> None:
    grid = explorer._plane.grid
    rows, columns = grid.pictures.shape[:2]
    left, right, bottom, top = grid.box
    assert (left, right, bottom, top) == (-3.0, 3.0, -3.0, 3.0), "what N(0, I) covers, as all codes lie inside"
    assert grid.pictures.dtype == np.uint8
    assert rows == columns == 48
    for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (7, 11)):
        x = left + (right - left) * column / (columns - 1)
        y = top + (bottom - top) * row / (rows - 1)
        expected = [255 / (1 + math.exp(-x)), 255 / (1 + math.exp(-y)), 127.5, 127.5]
        assert np.abs(grid.pictures[row, column].ravel() - expected).max() <= 0.51


def test_the_points_are_the_codes_and_their_pictures_travel_along(explorer: LatentSpaceExplorer) -> None:
    cloud, picture = explorer._plane.cloud, explorer._plane.picture
    assert np.abs(np.stack([cloud.x, cloud.y], 1) - CODES.numpy()).max() < 1e-6
    assert cloud.color.tolist() == [0, 1, 0, 1, 0, 1]
    expected = (255 * images_of(CODES)).round().numpy()
    assert np.abs(picture.images - expected).max() <= 1
    assert np.abs(picture.reconstructions - expected).max() <= 1
    assert explorer._plane.legend.classes == ["0", "1"]
    assert explorer.error == ""
    assert "6 images in 2 latent dimensions; 2 classes" in explorer._description
    assert "posterior standard deviation 0.25" in explorer._description


def test_what_is_under_the_pointer_is_told_without_a_pass_over_all_images(
    explorer: LatentSpaceExplorer, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(name: str) -> property:
        compute = getattr(Posterior, name).fget

        def value(posterior: Posterior) -> Tensor:
            sizes.append(len(posterior.mean))
            return compute(posterior)

        return property(value)

    for name in ("sd", "valid", "kl"):
        monkeypatch.setattr(Posterior, name, counted(name))
    recorder.send(explorer._plane.cloud, pointer=[1.0, 0.5])
    recorder.send(explorer._plane.cloud, hovered=1)
    explorer.wait(LONG)
    assert explorer.z == (1.0, 0.5)
    assert explorer._plane.posterior.visible
    assert set(sizes) == {1}


def test_the_pointer_is_decoded_exactly_for_few_messages(explorer: LatentSpaceExplorer, recorder: Any) -> None:
    recorder.clear()
    recorder.send(explorer._plane.cloud, pointer=[0.5, -2.0])
    explorer.wait(LONG)
    picture = explorer._plane.picture
    assert explorer.z == (0.5, -2.0)
    assert picture.exact_at == [0.5, -2.0]
    expected = (255 * decode(torch.tensor([[0.5, -2.0]]))[0]).round().numpy()
    assert np.array_equal(picture.exact, expected)
    assert len(recorder.updates(picture)) == 1, "the picture and its place come together"
    assert recorder.updates(explorer._plane.grid) == []
    assert len(recorder.updates()) <= 5


def test_hundreds_of_moves_decode_the_last_place(explorer: LatentSpaceExplorer, recorder: Any) -> None:
    for step in range(300):
        recorder.send(explorer._plane.cloud, pointer=[step / 300, -step / 300])
    explorer.wait(LONG)
    assert explorer._plane.picture.exact_at == [299 / 300, -299 / 300]
    state = recorder.state[explorer._plane.picture.model_id]
    assert state["exact_at"] == [299 / 300, -299 / 300], "the page knows what Python knows"


def test_a_code_can_be_set_and_typed(explorer: LatentSpaceExplorer, recorder: Any) -> None:
    explorer.z = (1.5, 0.25)
    explorer.wait(LONG)
    assert explorer._plane.cloud.pointer == [1.5, 0.25]
    assert explorer._plane.picture.exact_at == [1.5, 0.25]
    assert explorer._controls.typed.value == "1.5, 0.25"
    recorder.send(explorer._controls.typed, value="−1  0.5")
    explorer.wait(LONG)
    assert explorer.z == (-1.0, 0.5)
    recorder.send(explorer._controls.typed, value="left")
    assert "z: expected numbers" in explorer.error
    assert explorer.z == (-1.0, 0.5)
    with pytest.raises(ValueError, match=r"z: expected 2 numbers, such as 0\.5, -1; got 1, 2, 3$"):
        explorer.z = (1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match="z: expected 2 finite numbers"):
        explorer.z = (1.0, math.nan)


def test_selecting_shows_a_strip(explorer: LatentSpaceExplorer, recorder: Any) -> None:
    explorer.selected = [4, 1]
    explorer.wait(LONG)
    strip = explorer._selection_strip
    assert explorer._plane.cloud.selected.tolist() == [4, 1]
    assert strip.title == "2 images selected."
    assert np.array_equal(strip.pictures, explorer._plane.picture.images[[4, 1]])
    explorer._plane.cloud.selected = [2]  # as a lasso in the browser does
    explorer.wait(LONG)
    assert explorer.selected == (2,)
    assert strip.title == "1 image selected."
    explorer.selected = ()
    assert strip.pictures is None
    with pytest.raises(ValueError, match="there are 6 images, counted from 0; got 6"):
        explorer.selected = (6,)
    with pytest.raises(TypeError, match="expected the indices of images"):
        explorer.selected = "all"


def test_arguments_may_select_before_the_first_result(recorder: Any) -> None:
    made = explore(z=(0.5, 0.25), selected=(1, 3), path=((0, 1), (1, 0)), manifold=0.5, contours=False)
    assert made.error == ""
    assert made._plane.picture.exact_at == [0.5, 0.25]
    assert made._plane.cloud.selected.tolist() == [1, 3]
    assert len(made._selection_strip.pictures) == 2
    assert made._path_strip.title.startswith("Along the linear path")
    assert made._plane.manifold.opacity == made._controls.manifold.value == 0.5
    assert not made._plane.prior.visible
    made.close()


def test_hovering_shows_the_posterior(explorer: LatentSpaceExplorer, recorder: Any) -> None:
    recorder.send(explorer._plane.cloud, hovered=1)
    explorer.wait(LONG)
    lines = explorer._plane.posterior
    assert lines.visible
    radii = np.hypot(lines.x - 1.0, lines.y - 0.5) / SD
    assert np.abs(radii[0] - 1).max() < 0.01
    assert np.abs(radii[1] - 2).max() < 0.01
    own = 0.5 * (CODES[1] ** 2 + SD**2 - 1 - 2 * math.log(SD))
    average = 0.5 * ((CODES**2).mean(0) + SD**2 - 1 - 2 * math.log(SD))
    assert np.abs(explorer._kl.bars.y - torch.stack([average, own]).numpy()).max() < 1e-5
    recorder.send(explorer._plane.cloud, hovered=-1)
    assert not lines.visible
    assert explorer._kl.bars.y.shape == (1, 2), "a bar alone stands over its name"
    assert explorer._kl.bars.colors == ["#0072b2"]


def test_the_prior_and_the_codes_together_are_outlined(explorer: LatentSpaceExplorer) -> None:
    prior, together = explorer._plane.prior, explorer._plane.aggregated
    assert np.abs(np.hypot(prior.x, prior.y) - [[1], [2], [3]]).max() < 0.01
    covariance = np.cov(CODES.numpy().T, bias=True) + SD**2 * np.eye(2)
    away = np.stack([together.x.ravel(), together.y.ravel()], 1) - CODES.numpy().mean(0)
    distance = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away))
    assert np.abs(distance - 2).max() < 0.01
    halo, marks = explorer._plane.halo, explorer._plane.figure.marks
    assert np.array_equal(halo.x, np.vstack([prior.x, together.x]))
    assert (halo.visible, prior.visible, together.visible) == (True, True, True)
    order = [marks.index(mark) for mark in (explorer._plane.cloud, halo, prior, together)]
    assert order == sorted(order), "the lines lie on the points, or dense points hide them"
    explorer.contours = False
    assert (halo.visible, prior.visible, together.visible) == (False, False, False)


def test_each_image_is_called_what_was_done_to_it_and_a_typed_code_leaves_the_one_at_the_probe(
    explorer: LatentSpaceExplorer, recorder: Any
) -> None:
    cloud, key = explorer._plane.cloud, explorer._kl._key
    recorder.send_custom(cloud, {"event": "element_click", "data": {"index": 2, "x": -0.5, "y": 1.0}})
    recorder.send(cloud, clicked=2, hovered=3, pointer=[0.5, -1.0])  # the arrow keys lead to another one
    explorer.wait(LONG)
    assert explorer._plane.posterior.visible
    assert key.value == "Blue: all images. Pink: image 3."
    recorder.send(explorer._controls.typed, value="0.1, 0.2")
    explorer.wait(LONG)
    assert cloud.hovered == -1
    assert not explorer._plane.posterior.visible
    assert explorer._kl.bars.y.shape == (1, 2)
    assert key.value == "Blue: all images."
    assert explorer._encodings_strip.title.startswith("The clicked image 2 encoded 8 times")
    assert "hovered" not in f"{explorer._key.value} {explorer._about.value}"


def test_signals_are_called_data_points(recorder: Any) -> None:
    made = explore(
        autoencoder=(lambda x: encode(x), lambda z: decode(z).flatten(1)), images=images_of(CODES).flatten(1)
    )
    recorder.send_custom(made._plane.cloud, {"event": "element_click", "data": {"index": 2, "x": -0.5, "y": 1.0}})
    recorder.send(made._plane.cloud, hovered=1)
    made._controls.prior.click()
    made.selected = (0, 1)
    made.wait(LONG)
    strips = made._encodings_strip.title, made._selection_strip.title, made._prior_pictures.strip.title
    said = " ".join([made._description, made._key.value, made._kl._key.value, *strips])
    assert "6 data points in 2 latent dimensions; 2 classes" in said
    assert "The clicked data point 2 encoded" in said
    assert "2 data points selected." in said
    assert "Pink: data point 1." in said
    assert "image" not in said.lower()
    made.close()


def test_clicking_a_point_encodes_it_again(explorer: LatentSpaceExplorer, recorder: Any) -> None:
    click = {"event": "element_click", "data": {"index": 2, "x": -0.5, "y": 1.0}}
    recorder.send_custom(explorer._plane.cloud, click)
    explorer.wait(LONG)
    strip = explorer._encodings_strip
    assert strip.title == "The clicked image 2 encoded 8 times and decoded: a new z each time."
    assert len({picture.tobytes() for picture in strip.pictures}) == 8, "no two pictures agree"
    recorder.send_custom(explorer._plane.cloud, {"event": "background_click", "data": {"index": -1, "x": 0, "y": 0}})
    assert strip.pictures is None


def test_a_path_is_walked_and_its_ends_can_be_dragged_and_clicked(explorer: LatentSpaceExplorer, recorder: Any) -> None:
    explorer.path = ((1, 0), (0, 2))
    explorer.wait(LONG)
    strip = explorer._path_strip
    assert strip.title.startswith(f"Along the linear path, {math.sqrt(5):.3g} long")
    t = torch.linspace(0, 1, len(strip.pictures), dtype=torch.float64)[:, None]
    expected = (255 * decode((1 - t) * torch.tensor([1.0, 0.0]) + t * torch.tensor([0.0, 2.0]))).numpy()
    assert np.abs(strip.pictures - expected).max() <= 0.51
    explorer.path_kind = "spherical"
    explorer.path = ((2, 0), (0, 2))
    explorer.wait(LONG)
    assert np.abs(np.hypot(explorer._plane.path.x, explorer._plane.path.y) - 2).max() < 1e-5
    assert strip.title.startswith(f"Along the spherical path, {math.pi:.3g} long")
    explorer._plane.ends.x = np.array([-2.0, 0.0])  # as dragging does
    explorer.wait(LONG)
    assert explorer.path == ((-2.0, 0.0), (0.0, 2.0))
    recorder.send_custom(explorer._plane.cloud, {"event": "background_click", "data": {"index": -1, "x": 1, "y": 1}})
    explorer.wait(LONG)
    assert explorer.path == ((0.0, 2.0), (1.0, 1.0))
    assert explorer._plane.figure.interaction is None, "the ends lie below what pans"
    explorer.path = None
    assert strip.pictures is None
    assert explorer._plane.figure.interaction is explorer._plane.pan_zoom
    with pytest.raises(TypeError, match="path: expected"):
        explorer.path = (1, 2)
    explorer.path_kind = "spherical"
    explorer.path = ((0, 0), (1, 1))
    explorer.wait(LONG)
    assert "away from the origin" in explorer.error


def test_samples_of_the_prior_are_counted_by_class(explorer: LatentSpaceExplorer, recorder: Any) -> None:
    explorer._controls.prior.click()
    explorer.wait(LONG)
    pictures = explorer._prior_pictures
    assert "of 10,000 of them, 2 of 2 classes hold 2 % or more" in pictures.strip.title
    assert "The images' own codes: 2 of 2 latent dimensions active; " in pictures.strip.title
    assert "of the box around the codes within 2 posterior standard deviations of one." in pictures.strip.title
    assert pictures.figure in pictures.box.children
    assert pictures.bars.y.sum() == pytest.approx(1)


def test_asked_for_again_the_prior_gives_new_samples(explorer: LatentSpaceExplorer) -> None:
    shown = []
    for _ in range(3):
        explorer._controls.prior.click()
        explorer.wait(LONG)
        shown.append(explorer._prior_pictures.strip.pictures.tobytes())
    assert len(set(shown)) == 3
    explorer.refresh()
    explorer.wait(LONG)
    explorer._controls.prior.click()
    explorer.wait(LONG)
    assert explorer._prior_pictures.strip.pictures.tobytes() == shown[0], "the first ones are the same every time"


class Linear4(nn.Module):
    """Four latent dimensions, encoded and decoded by a fixed rotation."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.turn = nn.Parameter(torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0])
        self.drop = nn.Dropout(0.5)

    def encode(self, images: Tensor) -> Tensor:
        return self.drop(images.flatten(1) @ self.turn)

    def decode(self, codes: Tensor) -> Tensor:
        return (codes @ self.turn.T).reshape(-1, 2, 2)


def test_more_dimensions_show_principal_components_or_two_with_sliders(recorder: Any) -> None:
    model = Linear4()
    images = torch.rand(50, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = explore(autoencoder=model, images=images, labels=None)
    codes = images.flatten(1) @ model.turn.detach()
    centred = codes - codes.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False)[2][:2]
    expected = (centred @ axes.T).numpy()
    found = np.stack([made._plane.cloud.x, made._plane.cloud.y], 1)
    assert np.abs(np.abs(found) - np.abs(expected)).max() < 1e-5
    assert made._plane.picture.axis_names == ["PC1", "PC2"]
    made.z = (0.1, 0.2, 0.3, 0.4)
    made.wait(LONG)
    assert made.z == pytest.approx((0.1, 0.2, 0.3, 0.4)), "the plane goes through the typed code"
    made.view, made.dims = "plane", (2, 0)
    made.wait(LONG)
    assert np.abs(made._plane.cloud.x - codes[:, 2].numpy()).max() < 1e-6
    assert made._plane.picture.axis_names == ["z3", "z1"]
    assert [child.description for child in made._controls._rest.children] == ["z2", "z4"]
    recorder.send(made._controls._sliders[1], value=-0.25)
    recorder.send(made._plane.cloud, pointer=[0.5, 0.75])
    made.wait(LONG)
    assert made.z == pytest.approx((0.75, -0.25, 0.5, 0.4))
    with pytest.raises(ValueError, match="at: expected 4 numbers"):
        made.at = (1, 2)
    made.close()


def test_the_autoencoder_is_left_as_it_was(recorder: Any) -> None:
    model = Linear4().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    made = explore(autoencoder=model, labels=None)
    made.z = (0.1, 0.2, 0.3, 0.4)
    made.selected = (0, 1)
    made.path = ((0, 0.1), (1, 1))
    made.wait(LONG)
    assert made.error == ""
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.turn.grad is None
    made.close()


def test_refresh_sees_further_training(recorder: Any) -> None:
    model = Linear4()
    made = explore(autoencoder=model, labels=None, view="plane")
    before = made._plane.cloud.x.copy()
    with torch.no_grad():
        model.turn.mul_(2)
    made.refresh()
    made.wait(LONG)
    assert np.allclose(made._plane.cloud.x, 2 * before)
    made.close()


def raise_far(codes: Tensor) -> Tensor:
    if bool((codes.abs() > 2).any()):
        raise RuntimeError("too far out")
    return decode(codes)


def nan_for_bright(images: Tensor) -> Tensor:
    codes = encode(images)[0]
    return torch.where(codes[:, :1] >= 1, math.nan, codes)


def test_a_decoder_that_raises_for_far_codes_is_shown_where_it_works(recorder: Any) -> None:
    made = explore(autoencoder=(encode, raise_far))
    valid = made._plane.grid.valid
    axis = np.abs(np.linspace(-3, 3, len(valid))) <= 2
    assert np.array_equal(valid.astype(bool), axis[:, None] & axis[None, :])
    assert "gives no picture at" in made.error
    made.z = (2.5, 0)
    made.wait(LONG)
    assert made._plane.picture.exact is None
    assert made._plane.picture.exact_at == [2.5, 0.0]
    made.z = (1.5, 0)
    made.wait(LONG)
    assert made._plane.picture.exact is not None
    assert made.error == ""
    assert "gives no picture at" in made._problem.value, "what was said stays readable"
    made.close()


def test_codes_of_nan_are_counted_and_the_others_drawn(recorder: Any) -> None:
    made = explore(autoencoder=(nan_for_bright, decode))
    assert made._plane.cloud.num_nonfinite == 2
    assert "2 images not drawn, because the code is not finite" in made._description
    recorder.send(made._plane.cloud, hovered=1)
    recorder.send(made._plane.cloud, hovered=0)
    made.wait(LONG)
    assert made.error == ""
    made.close()


def all_nan(images: Tensor) -> Tensor:
    return torch.full((len(images), 2), math.nan)


def three_codes(images: Tensor) -> Tensor:
    return torch.cat([encode(images)[0], torch.zeros(len(images), 1)], 1)


def two_only(codes: Tensor) -> Tensor:
    return codes @ torch.ones(2, 4, dtype=codes.dtype)


def one_number(images: Tensor) -> Tensor:
    return images.flatten(1)[:, :1].double() * 4 - 2


def from_one(codes: Tensor) -> Tensor:
    return codes.repeat(1, 4).reshape(-1, 2, 2)


def encode_float(images: Tensor) -> Tensor:
    return images.flatten(1) @ torch.ones(4, 2)


def decode_float(codes: Tensor) -> Tensor:
    return torch.sigmoid(codes @ torch.ones(2, 4)).reshape(-1, 2, 2)


def four_numbers(codes: Tensor) -> Tensor:
    return decode(codes).flatten(1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"autoencoder": (all_nan, decode)}, ""),
        ({"autoencoder": (three_codes, two_only)}, "decode raised RuntimeError"),
        ({"images": images_of(CODES[:1]), "labels": ["one"]}, ""),
        ({"labels": None}, ""),
        ({"labels": [7] * 6}, ""),
        ({"autoencoder": (one_number, from_one)}, ""),
        ({"autoencoder": (one_number, from_one), "labels": None}, ""),
        ({"autoencoder": (encode_float, decode_float), "images": images_of(CODES).float()}, ""),
        ({"autoencoder": (encode, four_numbers)}, ""),
        ({"autoencoder": (encode, four_numbers), "picture_shape": (4,)}, ""),
        ({"autoencoder": (encode, four_numbers), "picture_shape": (3, 3)}, "expected a shape of 4 values"),
        ({"autoencoder": (lambda images: images.missing, decode)}, "encode raised AttributeError"),
    ],
)
def test_odd_input_gives_a_picture_or_a_sentence_and_the_explorer_goes_on(
    recorder: Any, arguments: dict[str, Any], words: str
) -> None:
    made = explore(**arguments)
    assert (words in made.error) if words else (made.error == "")
    recorder.send(made._plane.cloud, pointer=[0.25, 0.5])
    recorder.send(made._plane.cloud, hovered=0)
    made.selected = (0,)
    made.wait(LONG)
    made._controls.prior.click()
    made.wait(LONG)
    if not words:
        assert made.error == ""
        assert made._plane.picture.exact is not None
        assert made._prior_pictures.strip.pictures is not None
    made.close()


def test_one_latent_dimension_has_a_lane_for_each_class(recorder: Any) -> None:
    made = explore(autoencoder=(one_number, from_one))
    assert np.array_equal(made._plane.cloud.y, [0, 1, 0, 1, 0, 1])
    assert made._plane.grid.pictures.shape[0] == 1
    assert made._plane.picture.axis_names == ["z1"]
    made.z = (0.5,)
    made.wait(LONG)
    assert made.z == (0.5,)
    made.close()


def test_ten_thousand_labels(recorder: Any) -> None:
    codes = torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = explore(images=images_of(codes), labels=np.arange(10_000))
    assert made.error == ""
    assert made._plane.cloud.color.dtype == np.uint16
    assert len(made._plane.legend.classes) == 10_000
    made.close()


def test_curves_are_told_apart_from_pictures(recorder: Any) -> None:
    signals = torch.rand(20, 50, generator=torch.Generator().manual_seed(0))
    first_two = (lambda x: x[:, :2], lambda z: torch.sin(z[:, :1] * torch.arange(50)) + z[:, 1:])
    made = explore(autoencoder=first_two, images=signals, labels=None)
    grid = made._plane.grid
    assert grid.curve
    assert grid.pictures.shape[2:] == (1, 50)
    assert (grid.pictures.min(), grid.pictures.max()) == (0, 255), "curves use the whole height"
    made.close()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"autoencoder": 3}, TypeError, "autoencoder: expected an object with the methods encode and decode"),
        ({"images": [1, 2]}, TypeError, "images: expected a tensor or a numpy array, got list"),
        ({"images": torch.zeros(0, 2, 2), "labels": None}, ValueError, "images: expected the shape"),
        ({"labels": [1, 2]}, ValueError, "labels: expected one label for each of the 6 images"),
        ({"labels": [0.5] * 6}, TypeError, "labels: expected integers or strings"),
        ({"picture_shape": "28x28"}, TypeError, "picture_shape: expected a shape such as"),
        ({"colour": 1}, TypeError, "unknown argument 'colour'; valid names are: autoencoder, images, labels"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    recorder: Any, num_models: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = num_models()
    with pytest.raises(error, match=message):
        explore(**arguments)
    assert num_models() == before


def test_close_frees_every_model(recorder: Any, num_models: Any) -> None:
    before = num_models()
    made = explore()
    made.path = ((0.5, 0), (1, 1))
    made._controls.prior.click()
    made.wait(LONG)
    made.close()
    assert num_models() == before


class StandIn:
    """What `fit_umap` uses of umap.UMAP: here a map that drops the third coordinate."""

    def __init__(self, **_: Any) -> None:
        self.embedding_ = np.zeros((0, 2), dtype=np.float32)

    def fit(self, codes: np.ndarray) -> "StandIn":
        self.embedding_ = codes[:, :2]
        return self


def three(images: Tensor) -> Tensor:
    return torch.logit(images.flatten(1)[:, :3])


def test_umap_says_that_it_is_approximate(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=StandIn))
    images = images_of(torch.cat([CODES, CODES[:, :1]], 1))
    made = explore(autoencoder=(three, decode), images=images)
    made.z = (0.1, 0.2, 0.3)
    made.wait(LONG)
    assert not made._plane.picture.estimated
    recorder.send(made._controls.view, index=2)
    made.wait(LONG)
    assert made.view == "umap"
    assert made.error == ""
    assert np.allclose(np.stack([made._plane.cloud.x, made._plane.cloud.y], 1), CODES.numpy())
    assert made._plane.picture.axis_names == ["UMAP1", "UMAP2"]
    assert "its way back to codes is approximate" in made._description
    assert not made._plane.prior.visible
    recorder.send(made._plane.cloud, pointer=CODES[1].tolist())
    made.wait(LONG)
    assert made.z == pytest.approx((*CODES[1].tolist(), CODES[1, 0].item())), "the code of the point there"
    assert made._plane.picture.estimated
    made.z = (0.1, 0.2, 0.3)
    made.wait(LONG)
    assert made.z == (0.1, 0.2, 0.3)
    assert not made._plane.picture.estimated, "a typed code is no estimate"
    made.view = "pca"
    made.wait(LONG)
    assert made._plane.picture.axis_names == ["PC1", "PC2"]
    made.close()


def test_without_umap_the_choice_says_how_to_get_it(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    made = explore(autoencoder=(three, decode), images=images_of(torch.cat([CODES, CODES[:, :1]], 1)))
    recorder.send(made._controls.view, index=2)
    made.wait(LONG)
    assert "pip install umap-learn" in made.error
    assert (made.view, made._controls.view.value) == ("pca", "pca")
    made.z = (0.1, 0.2, 0.3)
    made.wait(LONG)
    assert made._plane.picture.exact is not None
    made.close()
