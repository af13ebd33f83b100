"""LatentSpaceExplorer: every control does what it says when a person moves it."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from torch import Tensor

from dlwidgets.widgets.latent_space import LatentSpaceExplorer
from dlwidgets.widgets.tree import walk

LONG = 120.0
IMAGES = torch.rand(30, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def encode(images: Tensor) -> Tensor:
    return images.flatten(1)


def decode(codes: Tensor) -> Tensor:
    return codes.reshape(-1, 2, 2)


@pytest.fixture
def explorer(recorder: Any) -> Iterator[LatentSpaceExplorer]:
    """Four latent dimensions, on the plane of the first two."""
    made = LatentSpaceExplorer((encode, decode), IMAGES, [0, 1, 2] * 10, view="plane")
    made.wait(LONG)
    yield made
    made.close()


@pytest.mark.parametrize(("index", "drag"), [(1, "lasso"), (2, "brush")])
def test_what_dragging_does_is_chosen(explorer: Any, recorder: Any, index: int, drag: str) -> None:
    cloud = explorer._plane.cloud
    assert cloud.drag == "pan"
    recorder.send(explorer._controls.drag, index=index)
    assert cloud.drag == drag
    assert recorder.state[cloud.model_id]["drag"] == drag
    recorder.send(explorer._controls.drag, index=0)
    assert cloud.drag == "pan"


def test_the_slider_of_the_manifold_shows_it(explorer: Any, recorder: Any) -> None:
    assert explorer._plane.manifold.opacity == 0
    recorder.send(explorer._controls.manifold, value=0.75)
    assert explorer.manifold == 0.75
    assert recorder.state[explorer._plane.manifold.model_id]["opacity"] == 0.75


def test_the_toggle_of_the_contours_hides_and_shows_them(explorer: Any, recorder: Any) -> None:
    lines, key = (explorer._plane.prior, explorer._plane.aggregated), explorer._key
    for shown in (False, True):
        recorder.send(explorer._controls.contours, value=shown)
        assert explorer.contours == shown
        assert [recorder.state[line.model_id]["visible"] for line in lines] == [shown, shown]
        assert bool(key.value) == shown


def test_the_dimensions_along_the_axes_are_chosen_and_swap(explorer: Any, recorder: Any) -> None:
    controls, cloud = explorer._controls, explorer._plane.cloud
    assert list(controls.x.options) == [("z1", 0), ("z2", 1), ("z3", 2), ("z4", 3)]
    codes = IMAGES.flatten(1).numpy()
    for control, index, dims in (
        (controls.x, 2, (2, 1)),
        (controls.y, 3, (2, 3)),
        (controls.x, 3, (3, 2)),  # chosen for both axes: they swap
        (controls.y, 3, (2, 3)),
    ):
        recorder.send(control, index=index)
        explorer.wait(LONG)
        assert explorer.dims == dims
        assert (controls.x.value, controls.y.value) == dims
        assert np.allclose(np.stack([cloud.x, cloud.y], 1), codes[:, dims])
        assert [axis.label for axis in explorer._plane.figure.axes[:2]] == [f"z{dim + 1}" for dim in dims]
        assert [slider.description for slider in controls._rest.children] == [
            f"z{dim + 1}" for dim in range(4) if dim not in dims
        ]


def test_the_plane_is_chosen(explorer: Any, recorder: Any) -> None:
    controls = explorer._controls
    recorder.send(controls.view, index=0)
    explorer.wait(LONG)
    assert explorer.view == "pca"
    assert (controls.x.layout.display, controls.y.layout.display) == ("none", "none")
    recorder.send(controls.view, index=1)
    explorer.wait(LONG)
    assert explorer.view == "plane"
    assert (controls.x.layout.display, controls.y.layout.display) == (None, None)


def test_two_clicks_make_a_path(explorer: Any, recorder: Any) -> None:
    recorder.send(explorer._controls.path, value=True)
    for x, y in ((0.1, 0.2), (0.9, 0.8)):
        recorder.send_custom(
            explorer._plane.cloud, {"event": "background_click", "data": {"index": -1, "x": x, "y": y}}
        )
    explorer.wait(LONG)
    assert explorer.path == ((0.1, 0.2), (0.9, 0.8))
    expected = decode(torch.tensor([[0.1, 0.2, 0.0, 0.0], [0.9, 0.8, 0.0, 0.0]]))
    low, high = explorer._scene.limits
    shown = low + (high - low) * explorer._path_strip.pictures[[0, -1]] / 255
    assert np.abs(shown - expected.numpy()).max() < 0.01 * (high - low)


def two_kinds() -> tuple[Tensor, list[str]]:
    images = torch.rand(60, 4, 4, generator=torch.Generator().manual_seed(0))
    images[::2] *= 0.2
    return images, ["dark", "bright"] * 30


def test_panels_share_one_legend_and_each_has_a_histogram(recorder: Any) -> None:
    images, labels = two_kinds()
    made = LatentSpaceExplorer.train(images, labels, beta=(0, 1, 4), epochs=4)
    made.wait(LONG)
    first, *others = made.explorers
    legends = [child for child in walk(made) if type(child).__name__ == "PointLegend" and child in made.children]
    assert legends == [first.legend]
    assert first.legend.classes == ["bright", "dark"]
    links = [widget for widget in walk_owned(made) if isinstance(widget, ipywidgets.widgets.widget_link.Link)]
    assert {(link.source, link.target) for link in links} == {
        ((first.cloud, "hidden"), (other.cloud, "hidden")) for other in others
    }
    for explorer in made.explorers:
        prior = explorer._prior_pictures
        assert prior.figure in prior.box.children
        assert prior.box in explorer.children
        assert prior.bars.x.tolist() == ["bright", "dark"]
        assert prior.bars.y.sum() == pytest.approx(1)
        assert prior.bars.scales["y"].max > prior.bars.y.max(), "room below the title"
        assert len(prior.strip.pictures) == 16
    made.close()


def walk_owned(exhibit: Any) -> Iterator[Any]:
    for root in (exhibit, *exhibit._owned):
        yield from walk(root)


def test_a_training_says_how_far_it_is(recorder: Any) -> None:
    images, labels = two_kinds()
    made = LatentSpaceExplorer.train(images, labels, epochs=20_000)
    told = threading.Event()

    def said() -> list[dict[str, Any]]:
        return [state["_progress"] for state in recorder.updates(made) if state.get("_progress")]

    made.observe(lambda change: told.set() if (change["new"] or {}).get("fraction", 0) > 0 else None, "_progress")
    assert told.wait(LONG)
    assert any(re.match(r"epoch \d+ of 20000: ELBO -\d+\.\d\d nats", each["text"]) for each in said())
    recorder.send_custom(made, {"type": "stop"})
    made.wait(LONG)
    assert made._progress is None, "and is silent when it is done"
    fractions = [each["fraction"] for each in said() if each["text"].startswith("epoch")]
    assert fractions == sorted(fractions)
    made.close()
