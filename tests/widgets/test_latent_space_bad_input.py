"""LatentSpaceExplorer: numbers that are not finite, very many classes, and values of the wrong kind."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlwidgets.widgets.latent_space import LatentSpaceExplorer
from dlwidgets.widgets.latent_space_training import LatentSpaceComparison
from dlwidgets.widgets.latent_space_words import number, spelled, typed_code

LONG = 120.0
CODES = torch.tensor([[0.0, 0.0], [1.0, 0.5], [-0.5, 1.0], [0.5, -1.0]], dtype=torch.float64)


def as_they_are(values: Tensor) -> Tensor:
    return values


def explore(encode: Any = as_they_are, codes: Tensor = CODES, labels: Any = None, **kwargs: Any) -> Any:
    made = LatentSpaceExplorer((encode, as_they_are), codes, labels, **kwargs)
    made.wait(LONG)
    return made


def nowhere(images: Tensor) -> tuple[Tensor, Tensor]:
    return torch.full_like(images, math.nan), torch.full_like(images, math.nan)


def without_variance_in_z2(images: Tensor) -> tuple[Tensor, Tensor]:
    return images, torch.tensor([-2.0, -math.inf], dtype=images.dtype).repeat(len(images), 1)


def one_everywhere(images: Tensor) -> tuple[Tensor, Tensor]:
    log_variance = torch.full_like(images, -2.0)
    log_variance[3] = 2000.0  # and its standard deviation is infinite
    return images, log_variance


def one_far_away(images: Tensor) -> tuple[Tensor, Tensor]:
    mean = images.clone()
    mean[3] = 1e31
    return mean, torch.full_like(images, -2.0)


def is_json(value: Any) -> bool:
    """Whether a front end gets a number where it expects one: JSON has neither NaN nor inf."""
    return value is None or math.isfinite(value)


@pytest.mark.parametrize(
    ("encode", "words", "key"),
    [
        (nowhere, "4 data points not drawn, because the code is not finite", "Not finite: z1, z2."),
        (without_variance_in_z2, "KL not finite in 1 of 2 latent dimensions", "Not finite: z2."),
        (one_everywhere, "1 data point not drawn, because the posterior is not finite or beyond 1e30", ""),
        (one_far_away, "1 data point not drawn, because the posterior is not finite or beyond 1e30", ""),
        (one_everywhere, "Orange: the posteriors of all data points but 1 together, at 2.", ""),
    ],
)
def test_what_is_not_finite_is_said_and_the_scale_of_the_bars_stays_finite(
    recorder: Any, encode: Any, words: str, key: str
) -> None:
    made = explore(encode)
    recorder.send(made._plane.cloud, hovered=0)
    made.wait(LONG)
    assert words in f"{made._description} {made._key.value}"
    assert "nan" not in made._description
    assert " inf" not in made._description
    scale, bars = made._kl.bars.scales["y"], made._kl.bars
    assert is_json(scale.min)
    assert is_json(scale.max)
    assert np.isfinite(made._kl._ruler.tick_values).all()
    assert np.isfinite(bars.y).all()
    assert made._kl._key.value.endswith(key or "Pink: data point 0.")
    made.close()


def test_a_code_of_a_deterministic_encoder_that_is_too_large_is_said(recorder: Any) -> None:
    made = explore(lambda x: one_far_away(x)[0])
    assert "1 data point not drawn, because the code is beyond 1e30." in made._about.value
    assert "Orange: the codes of all data points but 1 together, at 2." in made._key.value
    made.close()


def test_without_any_posterior_no_line_of_theirs_is_named(recorder: Any) -> None:
    made = explore(nowhere)
    assert "Grey" in made._key.value
    assert "Orange" not in made._key.value
    made.close()


def test_images_that_the_prior_cannot_be_compared_with_are_counted(recorder: Any) -> None:
    images = CODES.clone()
    images[3, 0] = math.nan
    made = explore(lambda x: x.nan_to_num(), images, [0, 1, 0, 1])
    made._controls.prior.click()
    made.wait(LONG)
    assert "compared without 1 data point with values that are not finite." in made._prior_pictures.strip.title
    made.close()


def test_how_images_and_pictures_of_different_scales_are_shaded_is_said(recorder: Any) -> None:
    images = torch.randint(0, 256, (5, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[0, 0, :2] = torch.tensor([0, 255])
    model = (lambda x: x.flatten(1)[:, :2].float() / 255, lambda z: torch.sigmoid(z).repeat(1, 8).view(-1, 4, 4))
    made = LatentSpaceExplorer(model, images)
    made.wait(LONG)
    words = "The decoder's pictures are in [0, 1], the images are not: they are divided by 255."
    assert made._about.value.endswith(words)
    made.close()


def test_more_classes_than_colours_are_drawn_and_what_they_share_is_said(recorder: Any) -> None:
    num_classes = 65_536 + 5
    codes = torch.randn(num_classes, 2, generator=torch.Generator().manual_seed(0))
    made = explore(codes=codes, labels=np.arange(num_classes))
    assert made.error == ""
    assert made._plane.cloud.num_points == num_classes
    assert made._plane.cloud.color[[0, 65_534, 65_535, 65_540]].tolist() == [0, 65_534, 65_535, 65_535]
    assert "65,541 classes, the last 6 in one colour" in made._description
    made.selected = (65_540,)
    made.wait(LONG)
    assert made.error == ""
    assert made._selection_strip.title == "1 data point selected."
    made.close()


def test_a_mask_selects_and_half_a_mask_is_refused(recorder: Any) -> None:
    made = explore()
    for mask in ([True, False, False, True], np.array([1, 0, 0, 1], dtype=bool), torch.tensor([1, 0, 0, 1]) > 0):
        made.selected = ()
        made.selected = mask
        assert made.selected == (0, 3)
    for wrong, count in (([True, False], "2 booleans among 2"), ([0, True, 2, 3], "1 booleans among 4")):
        with pytest.raises(ValueError, match=f"selected: expected .* a mask of 4 booleans, got {count} values"):
            made.selected = wrong
    with pytest.raises(TypeError, match="selected: expected the indices of images"):
        made.selected = [0.0, 1.0]
    assert made.selected == (0, 3)
    made.selected = np.array([1, 2])
    assert made.selected == (1, 2)
    made.close()


def test_a_beta_that_is_none_is_refused_in_a_sentence(recorder: Any) -> None:
    made = LatentSpaceExplorer.train(torch.rand(20, 2, 2), epochs=1)
    made.wait(LONG)
    first = made.training
    for wrong in (math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match="beta: expected a finite number >= 0, got"):
            made.beta = wrong
    made.wait(LONG)
    assert made.beta == 1
    assert made.training is first
    assert made.error == ""
    made.close()


@pytest.mark.parametrize("betas", [np.array([0, 1, 4]), torch.tensor([0.0, 1.0, 4.0]), [0, 1, 4]])
def test_several_betas_may_be_an_array(recorder: Any, betas: Any) -> None:
    made = LatentSpaceExplorer.train(torch.rand(20, 2, 2), beta=betas, epochs=0)
    assert isinstance(made, LatentSpaceComparison)
    assert [explorer.beta for explorer in made.explorers] == [0, 1, 4]
    made.wait(LONG)
    made.close()


def test_one_beta_may_be_a_number_of_numpy(recorder: Any) -> None:
    made = LatentSpaceExplorer.train(torch.rand(20, 2, 2), beta=np.float32(0.5), epochs=0)
    assert made.beta == 0.5
    made.wait(LONG)
    made.close()


def test_the_decoders_own_words_are_shown_where_it_gives_no_picture(recorder: Any) -> None:
    def decode(codes: Tensor) -> Tensor:
        if bool((codes.abs() > 2).any()):
            raise RuntimeError("codes beyond 2 have no picture " + 500 * "!")
        return codes

    made = LatentSpaceExplorer((as_they_are, decode), CODES)
    made.wait(LONG)
    made.z = (1e9, 1.0)
    made.wait(LONG)
    failure = "No picture at the probe: decode raised RuntimeError for codes (1, 2): codes beyond 2 have no picture !!"
    assert made._about.value.count(failure) == 1
    assert made._about.value.endswith("!….")
    assert len(made._about.value) < 400
    assert failure in made._description
    assert made._controls.typed.value == "1e9, 1"
    made.z = (1.0, 1.0)
    made.wait(LONG)
    assert "No picture" not in made._about.value
    made.close()


def test_numbers_are_written_as_a_person_writes_them() -> None:
    assert [number(value) for value in (1e9, -1.5e-7, 2e10, 0.5, -3.0, 100.0)] == [
        "1e9",
        "−1.5e−7",
        "2e10",
        "0.5",
        "−3",
        "100",
    ]
    assert typed_code(spelled([1e9, -1.5e-7])) == (1e9, -1.5e-7)
    with pytest.raises(ValueError, match=r"z: expected numbers such as 0\.3, -1\.2, got '\(\)'"):
        typed_code("()")


def test_one_image_is_spoken_of_as_one(recorder: Any) -> None:
    made = explore(lambda x: (x, torch.full_like(x, -2.0)), CODES[:1])
    assert "Orange: the posterior of this data point, at 2." in made._key.value
    made.close()
