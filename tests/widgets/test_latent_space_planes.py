"""LatentSpaceExplorer: which plane is shown, through which code, and how it recovers from an impossible one."""

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlwidgets.widgets.latent_space import LatentSpaceExplorer

LONG = 120.0
SD = 0.25


def first_four(images: Tensor) -> Tensor:
    return images.flatten(1)[:, :4]


def first_two(images: Tensor) -> Tensor:
    return images.flatten(1)[:, :2]


def first_one(images: Tensor) -> Tensor:
    return images.flatten(1)[:, :1]


def decode(codes: Tensor) -> Tensor:
    """2 x 2 pictures of the first four numbers of a code, with zeros for those that it lacks."""
    missing = torch.zeros(len(codes), max(0, 4 - codes.shape[1]), dtype=codes.dtype)
    return torch.cat([codes, missing], 1)[:, :4].reshape(-1, 2, 2)


IMAGES = torch.rand(30, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def explore(encode: Any, **kwargs: Any) -> LatentSpaceExplorer:
    made = LatentSpaceExplorer((encode, decode), IMAGES, **kwargs)
    made.wait(LONG)
    return made


@pytest.mark.parametrize("again", [False, True])
def test_the_plane_goes_through_the_code_of_the_constructor(recorder: Any, again: bool) -> None:
    made = explore(first_four, view="plane", at=(0.1, 0.2, 0.3, 0.4))
    if again:
        made.refresh()
        made.wait(LONG)
    recorder.send(made._plane.cloud, pointer=[0.5, 0.25])
    made.wait(LONG)
    assert made.z == pytest.approx((0.5, 0.25, 0.3, 0.4))
    rows, columns = made._plane.grid.pictures.shape[:2]
    assert rows == columns == 48, "as fine as without"
    assert made._plane.picture.reconstructions is not None
    made.close()


def test_refresh_stays_on_the_plane_through_a_code_that_was_set_later(recorder: Any) -> None:
    made = explore(first_four)
    made.at = (0.1, 0.2, 0.3, 0.4)
    made.refresh()
    made.wait(LONG)
    assert made._scene is not None
    assert made._scene.plane.at.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert made._plane.picture.axis_names == ["PC1", "PC2"]
    made.close()


def test_a_code_of_the_wrong_length_is_refused_and_the_next_one_taken(recorder: Any) -> None:
    made = explore(first_four, view="plane", at=(0.1, 0.2))
    assert "at: expected 4 numbers, such as 0.5, -1, ...; got" in made.error
    made.at = (0.1, 0.2, 0.3, 0.4)
    made.wait(LONG)
    assert made.error == ""
    recorder.send(made._plane.cloud, pointer=[0.5, 0.25])
    made.wait(LONG)
    assert made.z == pytest.approx((0.5, 0.25, 0.3, 0.4))
    made.close()


def test_a_first_probe_of_the_wrong_length_leaves_a_plane_without_a_probe(recorder: Any) -> None:
    made = explore(first_two, z=(1, 2, 3))
    assert "z: expected 2 numbers" in made.error
    assert made.z is None
    assert np.allclose(made._plane.cloud.x, IMAGES[:, 0, 0])
    made.close()


@pytest.mark.parametrize(
    ("encode", "first", "words", "then"),
    [
        (first_four, {"view": "umap"}, "pip install umap-learn", {"view": "pca"}),
        (first_four, {"view": "plane", "dims": (0, 5)}, "dims: expected two different dimensions", {"dims": (0, 1)}),
        (
            first_two,
            {"dims": (0, 5)},
            "dimensions from 0 to 1, got (0, 5)",
            {"dims": (1, 0)},
        ),
        (first_one, {"view": "pca"}, "view: 'pca' needs at least two latent dimensions", {"view": "plane"}),
        (first_four, {"view": "umap"}, "pip install umap-learn", {"view": None}),
    ],
)
def test_after_an_impossible_first_plane_another_one_can_be_asked_for(
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    encode: Any,
    first: dict[str, Any],
    words: str,
    then: dict[str, Any],
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    made = explore(encode, **first)
    assert words in made.error
    assert made._plane.cloud.num_points == 0
    made.refresh()
    made.wait(LONG)
    assert words in made.error, "encoding again changes nothing"
    for name, value in then.items():
        setattr(made, name, value)
    made.wait(LONG)
    assert made.error == ""
    assert made._plane.cloud.num_points == len(IMAGES)
    recorder.send(made._plane.cloud, pointer=[0.25, 0.5])
    made.wait(LONG)
    assert made._plane.picture.exact is not None
    made.close()


def test_a_trained_space_recovers_from_an_impossible_first_plane(
    recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    made = LatentSpaceExplorer.train(IMAGES.float(), view="umap", latent_dim=3, epochs=2)
    made.wait(LONG)
    assert "pip install umap-learn" in made.error
    made.view = "pca"
    made.wait(LONG)
    assert made.error == ""
    assert made._plane.picture.axis_names == ["PC1", "PC2"]
    assert made._prior_pictures.strip.pictures is not None
    made.close()


def test_a_plane_asked_for_before_the_first_result_is_the_one_that_is_shown(recorder: Any) -> None:
    made = LatentSpaceExplorer((first_four, decode), IMAGES)
    made.view = "plane"
    made.dims = (2, 3)
    made.wait(LONG)
    assert made._plane.picture.axis_names == ["z3", "z4"]
    made.close()


def test_dimensions_that_do_not_exist_are_refused_and_what_is_shown_stays(recorder: Any) -> None:
    made = explore(first_four, view="plane", dims=(2, 0))
    for wrong in ((0, 0), (0, 4)):
        with pytest.raises(ValueError, match=f"dims: expected two different dimensions from 0 to 3, got .{wrong[0]}, "):
            made.dims = wrong
        assert made.dims == (2, 0)
    assert made._plane.picture.axis_names == ["z3", "z1"]
    with pytest.raises(ValueError, match="dims: expected two different dimensions, got"):
        LatentSpaceExplorer((first_four, decode), IMAGES, dims=(1, 1))
    made.close()


def test_on_another_plane_the_probe_stays_at_its_code(recorder: Any) -> None:
    made = explore(first_four)
    made.view = "plane"  # and before it is there
    made.z = (0.5, 0.1, 0.2, 0.3)
    made.wait(LONG)
    assert made._plane.picture.axis_names == ["z1", "z2"]
    assert made.z == pytest.approx((0.5, 0.1, 0.2, 0.3))
    assert made._plane.cloud.pointer == pytest.approx([0.5, 0.1])
    made.dims = (3, 2)
    made.wait(LONG)
    assert made.z == pytest.approx((0.5, 0.1, 0.2, 0.3))
    assert made._plane.cloud.pointer == pytest.approx([0.3, 0.2])
    made.at = (0.9, 0.8, 0.7, 0.6)
    made.dims = (0, 1)
    made.wait(LONG)
    assert made.z == pytest.approx((0.5, 0.1, 0.7, 0.6)), "a plane that was asked for is not moved"
    made.close()


def test_a_slider_that_the_browser_puts_on_a_step_moves_no_plane(recorder: Any) -> None:
    made = explore(first_four, view="plane", at=(0.1, 0.2, 0.1234, 0.4))
    asked: list[Any] = []
    made.observe(asked.append, "at")
    slider = made._controls._sliders[2]
    recorder.send(slider, value=0.12)
    assert asked == []
    recorder.send(slider, value=0.13)
    made.wait(LONG)
    assert made.at == pytest.approx((0.1, 0.2, 0.13, 0.4)), "one step is a move"
    recorder.send(slider, value=0.3)  # and back before its plane is there
    recorder.send(slider, value=0.13)
    made.wait(LONG)
    assert made._scene is not None
    assert made._scene.plane.at.tolist() == pytest.approx([0.1, 0.2, 0.13, 0.4])
    made.close()


def test_opening_a_plane_through_the_origin_asks_for_no_other(recorder: Any) -> None:
    made = explore(first_four, view="plane")
    scene = made._scene
    recorder.send(made._controls._sliders[3], value=0.0041)
    made.wait(LONG)
    assert made.at is None
    assert made._scene is scene
    made.close()


def test_one_latent_dimension_names_the_lanes(recorder: Any) -> None:
    made = explore(first_one, labels=["lying", "upright", "lying"] * 10)
    axis = made._plane.figure.axes[1]
    assert (axis.tick_values.tolist(), axis.tick_labels) == ([0, 1], {"0": "lying", "1": "uprig…"})
    assert axis.visible
    made.close()
    made = explore(first_one)
    assert not made._plane.figure.axes[1].visible, "the height means nothing"
    made.close()


def one_with_variance(images: Tensor) -> tuple[Tensor, Tensor]:
    return first_one(images), torch.full((len(images), 1), 2 * math.log(SD), dtype=images.dtype)


def test_one_latent_dimension_is_outlined_by_bands(recorder: Any) -> None:
    made = explore(one_with_variance, labels=[0, 1, 2] * 10)
    prior, together, own = made._plane.prior, made._plane.aggregated, made._plane.posterior
    assert (prior.x.min(1).tolist(), prior.x.max(1).tolist()) == ([-1, -2, -3], [1, 2, 3])
    means = IMAGES.numpy()[:, 0, 0]
    sd = math.sqrt(means.var() + SD**2)
    assert [together.x.min(), together.x.max()] == pytest.approx([means.mean() - 2 * sd, means.mean() + 2 * sd])
    low, high = made._plane.cloud.scales["y"].min, made._plane.cloud.scales["y"].max
    assert prior.y.min() < low - 20 * (high - low), "they reach beyond what is shown"
    assert prior.y.max() > high + 20 * (high - low)
    assert (prior.visible, together.visible) == (True, True)
    assert "Grey: the prior" in made._key.value
    recorder.send(made._controls.contours, value=False)
    assert (prior.visible, together.visible, made._key.value) == (False, False, "")
    recorder.send(made._plane.cloud, hovered=1)
    made.wait(LONG)
    assert own.visible
    assert np.allclose(own.x.min(1), means[1] - SD * np.array([1, 2]))
    assert np.allclose(own.x.max(1), means[1] + SD * np.array([1, 2]))
    assert own.y.min() > 0.5
    assert own.y.max() < 1.5, "in the lane of its class"
    made.close()


@pytest.mark.parametrize(("shape", "hidden"), [((2, 2), False), ((4,), True)])
def test_what_has_no_manifold_has_no_slider_of_it(recorder: Any, shape: tuple[int, ...], hidden: bool) -> None:
    made = explore(first_two, picture_shape=shape)
    assert ("dlw-hidden" in made._controls.manifold._dom_classes) == hidden
    assert made._plane.grid.curve == hidden
    made.close()
