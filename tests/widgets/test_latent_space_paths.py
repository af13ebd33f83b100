"""LatentSpaceExplorer: a path that there is, that there is not, and where a first one goes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlwidgets.widgets.latent_space import LatentSpaceExplorer

LONG = 120.0
CORNERS = torch.tensor([[-2.0, -2.0], [2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]], dtype=torch.float64)


def as_they_are(values: Tensor) -> Tensor:
    return values


def with_variances(values: Tensor) -> tuple[Tensor, Tensor]:
    return values, torch.full_like(values, -2.0)


def explore(codes: Tensor = CORNERS, labels: Any = None, encode: Any = as_they_are, **kwargs: Any) -> Any:
    made = LatentSpaceExplorer((encode, as_they_are), codes, labels, picture_shape=None, **kwargs)
    made.wait(LONG)
    return made


@pytest.mark.parametrize(
    ("codes", "labels"),
    [
        (CORNERS, None),
        (
            CORNERS - torch.tensor([0.0, 1.2], dtype=torch.float64),
            None,
        ),  # the box's upper quarter runs through the origin
        (CORNERS[[0, 3]], [0, 1]),  # the classes lie in opposite directions
        (CORNERS, [0, 1, 1, 0]),  # their means agree
        (torch.cat([CORNERS, CORNERS], 1), None),
        (CORNERS + 10, None),
    ],
)
@pytest.mark.parametrize("encode", [as_they_are, with_variances])
def test_a_first_spherical_path_is_an_arc(recorder: Any, codes: Tensor, labels: Any, encode: Any) -> None:
    made = explore(codes, labels, encode, path_kind="spherical")
    recorder.send(made._controls.path, value=True)
    made.wait(LONG)
    assert made.error == ""
    assert made._path_strip.title.startswith("Along the spherical path")
    assert (made._plane.path.visible, made._plane.ends.visible) == (True, True)
    assert len(made._path_strip.pictures) == 16
    made.close()


def test_the_kind_of_path_is_chosen_and_the_button_takes_the_path_away(recorder: Any) -> None:
    made = explore()
    recorder.send(made._controls.path, value=True)
    made.wait(LONG)
    assert made._path_strip.title.startswith("Along the linear path")
    linear = np.stack([made._plane.path.x, made._plane.path.y])
    recorder.send(made._controls.kind, index=1)
    made.wait(LONG)
    assert made.path_kind == "spherical"
    assert made._path_strip.title.startswith("Along the spherical path")
    assert np.abs(np.stack([made._plane.path.x, made._plane.path.y]) - linear).max() > 0.1
    recorder.send(made._controls.path, value=False)
    assert made.path is None
    assert (made._plane.path.visible, made._plane.ends.visible) == (False, False)
    assert made._path_strip.pictures is None
    made.close()


def test_ends_in_opposite_directions_leave_no_old_path_and_can_be_dragged_on(recorder: Any) -> None:
    made = explore(path_kind="spherical", path=((1, 0), (0, 1)))
    plane, strip = made._plane, made._path_strip
    assert (plane.path.visible, strip.pictures is None) == (True, False)
    plane.ends.x, plane.ends.y = np.array([1.0, -1.0]), np.array([0.0, 0.0])  # as dragging does
    made.wait(LONG)
    assert "opposite directions" in made.error
    assert (plane.path.visible, strip.pictures is None) == (False, True)
    assert plane.ends.visible
    assert plane.ends.x.tolist() == [1, -1]
    assert plane.figure.interaction is None, "the ends lie below what pans"
    plane.ends.y = np.array([0.0, 1.0])
    made.wait(LONG)
    assert made.error == ""
    assert (plane.path.visible, strip.pictures is None) == (True, False)
    made.close()


def test_an_impossible_first_path_still_has_ends_to_drag(recorder: Any) -> None:
    made = explore(path_kind="spherical", path=((1, 1), (-1, -1)))
    assert "opposite directions" in made.error
    assert (made._plane.path.visible, made._plane.ends.visible) == (False, True)
    assert made._plane.ends.x.tolist() == [1, -1]
    made.path_kind = "linear"
    made.wait(LONG)
    assert made.error == ""
    assert made._plane.path.visible
    made.close()


def test_in_one_dimension_a_path_joins_its_ends(recorder: Any) -> None:
    made = explore(CORNERS[:, :1] + torch.arange(4)[:, None], [0, 1, 2, 2])
    recorder.send(made._controls.path, value=True)
    made.wait(LONG)
    assert made.error == ""
    path, ends = made._plane.path, made._plane.ends
    assert np.allclose([path.x[[0, -1]], path.y[[0, -1]]], [ends.x, ends.y])
    made.close()


def test_what_was_made_by_another_decoder_goes_when_it_is_encoded_again(recorder: Any) -> None:
    made = explore(encode=with_variances)
    recorder.send_custom(made._plane.cloud, {"event": "element_click", "data": {"index": 2, "x": -2.0, "y": 2.0}})
    made._controls.prior.click()
    made.wait(LONG)
    assert made._encodings_strip.pictures is not None
    assert made._prior_pictures.strip.pictures is not None
    made.refresh()
    made.wait(LONG)
    assert made._encodings_strip.pictures is None
    assert made._prior_pictures.strip.pictures is None
    made.close()
