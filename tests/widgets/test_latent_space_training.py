"""A latent space that forms while it is trained, goes back to any epoch, and stands beside others."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlwidgets.widgets.latent_space import LatentSpaceExplorer
from dlwidgets.widgets.latent_space_training import LatentSpaceComparison, TrainedLatentSpace

LONG = 120.0


def two_bars(num_images: int = 60) -> tuple[Tensor, list[str]]:
    """4 x 4 pictures of an upright or a lying bar at one of four places."""
    images = torch.zeros(num_images, 4, 4)
    for i in range(num_images):
        if i % 2:
            images[i, i // 2 % 4] = 1
        else:
            images[i, :, i // 2 % 4] = 1
    return images, ["lying" if i % 2 else "upright" for i in range(num_images)]


def test_training_moves_the_cloud_and_ends_with_the_vae(recorder: Any) -> None:
    images, labels = two_bars()
    made = LatentSpaceExplorer.train(images, labels, beta=0.5, epochs=12)
    assert isinstance(made, LatentSpaceExplorer)
    assert made.beta == 0.5
    made.wait(LONG)
    moves = [state for state in recorder.updates(made.cloud) if "x" in state]
    assert len(moves) >= 2, "at least one state on the way and the last one"
    assert made.training.history.kl.shape == (12,)
    assert made.error == ""
    with torch.no_grad():
        means = made.training.autoencoder.encode(images)[0].numpy()
    assert np.abs(np.stack([made.cloud.x, made.cloud.y], 1) - means).max() < 1e-5
    assert "β = 0.5, epoch 12 of 12, on held-out images: reconstruction" in made._description
    assert "a bound up to a constant, no log density" in made._state.value
    assert "nats over these images" in made._about.value
    assert "of 2 classes hold 2 %" in made._prior_pictures.strip.title
    made.close()


def test_stop_keeps_the_space_as_far_as_it_formed(recorder: Any) -> None:
    images, labels = two_bars()
    made = TrainedLatentSpace(images, labels, epochs=20_000)
    shown = threading.Event()
    made.observe(lambda _: shown.set(), "result")
    assert shown.wait(LONG)
    recorder.send_custom(made, {"type": "stop"})
    made.wait(LONG)
    assert made.training is None
    assert made.result is not None
    made.z = (0.5, 0.5)
    made.wait(LONG)
    assert made._plane.picture.exact is not None
    made.close()


def test_a_training_that_waits_for_another_says_so_until_it_is_stopped(recorder: Any) -> None:
    images, labels = two_bars()
    first = TrainedLatentSpace(images, labels, epochs=20_000)
    second = TrainedLatentSpace(images, labels, beta=4.0, epochs=2)
    assert second._state.value == "β = 4: waiting to be trained."
    recorder.send_custom(second, {"type": "stop"})
    second.wait(LONG)
    assert second._state.value == "β = 4: not trained."
    recorder.send_custom(first, {"type": "stop"})
    first.wait(LONG)
    first.close()
    second.close()


def test_another_beta_trains_anew(recorder: Any) -> None:
    images, labels = two_bars()
    made = TrainedLatentSpace(images, labels, epochs=3)
    made.wait(LONG)
    first = made.training
    recorder.send(made._beta_choice, index=0)
    made.wait(LONG)
    assert made.beta == 0
    assert made.training is not first
    assert made.training is not None
    assert made.training.beta == 0
    made.close()


def test_panels_share_a_pointer(recorder: Any, num_models: Any) -> None:
    before = num_models()
    images, labels = two_bars()
    made = LatentSpaceExplorer.train(images, labels, beta=(0, 1, 4), epochs=2)
    assert isinstance(made, LatentSpaceComparison)
    made.wait(LONG)
    assert [vae.beta for explorer in made.explorers if (vae := explorer.training)] == [0, 1, 4]
    assert "a bound up to a constant" in made.children[-1].value
    assert all("a bound" not in explorer._state.value for explorer in made.explorers), "once is enough"
    clouds = [explorer.cloud for explorer in made.explorers]
    for i, explorer in enumerate(made.explorers):
        assert explorer._plane.picture.others == [cloud for cloud in clouds if cloud is not clouds[i]]
    made.close()
    assert num_models() == before


def test_the_axes_of_all_panels_span_the_same_so_that_the_prior_is_equally_large(recorder: Any) -> None:
    images, labels = two_bars()
    made = LatentSpaceExplorer.train(images, labels, beta=(0, 4), epochs=60)
    made.wait(LONG)
    boxes = [explorer._scene.box for explorer in made.explorers]
    assert boxes[0] != boxes[1], "without the KL term the codes lie far apart"
    spans = [
        [(scale.min, scale.max) for scale in (explorer.cloud.scales["x"], explorer.cloud.scales["y"])]
        for explorer in made.explorers
    ]
    largest = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(*boxes, strict=True)]
    assert spans == [largest, largest]
    for explorer, box in zip(made.explorers, boxes, strict=True):
        assert explorer._plane.grid.box == [*box[0], *box[1]], "each decodes its own part"
    made.explorers[1].cloud.scales["x"].max = 1.0  # as panning does
    made.explorers[1].z = (0.5, 0.5)
    made.wait(LONG)
    assert made.explorers[1].cloud.scales["x"].max == 1.0
    made.close()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": -1.0}, ValueError, "beta: expected a finite number >= 0"),
        ({"beta": "much"}, TypeError, "beta: expected a number"),
        ({"beta": ()}, ValueError, "beta: expected at least one number"),
        ({"epochs": -1}, ValueError, "epochs: expected an integer >= 0"),
        ({"latent_dim": 0}, ValueError, "latent_dim: expected an integer >= 1"),
        ({"images": torch.full((9, 2, 2), 255.0)}, ValueError, "images: expected values in"),
        ({"images": np.linspace(0, 16, 36).reshape(9, 2, 2)}, ValueError, "from 0 to 16; divide by 16$"),
        ({"images": torch.linspace(0, 254, 36).reshape(9, 2, 2)}, ValueError, "from 0 to 254; divide by 255$"),
        ({"images": torch.linspace(-1, 1, 36).reshape(9, 2, 2)}, ValueError, "from -1 to 1; add 1 and divide by 2$"),
        ({"labels": [1]}, ValueError, "labels: expected one label"),
        ({"epoch": 5}, TypeError, "unknown argument 'epoch'"),
    ],
)
def test_wrong_arguments_of_train_are_refused_at_once(
    recorder: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    values = {"images": torch.zeros(9, 2, 2), **arguments}
    with pytest.raises(error, match=message):
        LatentSpaceExplorer.train(values.pop("images"), values.pop("labels", None), **values)


def test_epochs_are_shown_again(recorder: Any) -> None:
    images, labels = two_bars()
    made = TrainedLatentSpace(images, labels, epochs=6)
    assert made._replay.box.layout.display == "none"
    made.wait(LONG)
    vae = made.training
    assert vae is not None
    assert made._replay.box.layout.display is None
    recorder.clear()
    recorder.send(made._replay.slider, value=2)
    assert made.shown_epoch == 2
    points = np.stack([made.cloud.x, made.cloud.y], 1)
    assert np.allclose(points[vae.train_index], vae.codes[2], atol=1e-6)
    assert np.isnan(points[vae.held_out_index]).all()
    assert "epoch 2 of 6" in made._description
    assert recorder.updates(made._plane.grid) == [], "only the points move"
    made.shown_epoch = 0
    assert "not trained" in made._description
    made.shown_epoch = None
    assert np.allclose(made.cloud.x[vae.train_index], vae.codes[6, :, 0], atol=1e-5)
    assert not np.isnan(made.cloud.x).any()
    assert made._replay.slider.value == 6
    with pytest.raises(ValueError, match="shown_epoch: expected a number from 0 to 6, or None, got 7"):
        made.shown_epoch = 7
    made.shown_epoch = 3
    made._train_button.click()
    assert made.shown_epoch is None
    made.wait(LONG)
    made.close()


def test_a_bad_beta_among_good_ones_leaves_nothing_behind(num_models: Any) -> None:
    images, labels = two_bars()
    before = num_models()
    with pytest.raises((TypeError, ValueError), match="beta"):
        LatentSpaceExplorer.train(images, labels, beta=(0, "a"), epochs=3)
    assert num_models() == before


def test_beside_an_older_epoch_nothing_of_the_trained_model_stands_without_saying_so(recorder: Any) -> None:
    images, labels = two_bars()
    made = TrainedLatentSpace(images, labels, epochs=6)
    made.wait(LONG)
    plane, kl = made._plane, made._kl
    recorder.send_custom(plane.cloud, {"event": "element_click", "data": {"index": 4, "x": 0.0, "y": 0.0}})
    recorder.send(plane.cloud, hovered=4)
    made.wait(LONG)
    title, num_outlines = kl.figure.title, len(plane.halo.x)
    words = [made._about.value, kl._key.value, made._prior_pictures.strip.title, made._encodings_strip.title]
    assert plane.aggregated.visible
    assert plane.posterior.visible
    assert "Orange" in made._key.value
    recorder.send(made._replay.slider, value=2)
    then = [made._about.value, kl._key.value, made._prior_pictures.strip.title, made._encodings_strip.title]
    assert then == [f"Of the trained model: {said}" for said in words]
    assert kl.figure.title == "KL of the trained model, nats"
    assert (plane.prior.visible, plane.aggregated.visible, plane.posterior.visible) == (True, False, False)
    assert np.array_equal(plane.halo.x, plane.prior.x), "what is hidden sets nothing apart"
    assert "Orange" not in made._key.value
    assert "outlines of posteriors are hidden" in made._state.value
    recorder.send(plane.cloud, hovered=5)
    made.wait(LONG)
    assert not plane.posterior.visible, "hovering does not bring it back"
    assert kl._key.value.startswith("Of the trained model: ")
    recorder.send(made._replay.slider, value=6)
    assert kl.figure.title == title
    assert (plane.aggregated.visible, plane.posterior.visible) == (True, True)
    assert len(plane.halo.x) == num_outlines
    assert made._about.value == words[0]
    assert made._encodings_strip.title == words[3]
    made.close()
