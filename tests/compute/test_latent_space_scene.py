"""What an explorer draws: shades, sizes and what is said about them."""

import math
import sys
import types

import pytest
import torch

from dlwidgets.compute.latent_space.scene import bind_apart, explore


def flat(codes):
    """A decoder of grey values in (0, 1)."""
    return torch.sigmoid(codes.sum(1))[:, None, None].expand(-1, 4, 4)


def two_values(images):
    return images.flatten(1)[:, :2].float() / 64 - 2


def scene_of(images, encode=two_values, decode=flat, **kwargs):
    return explore(bind_apart((encode, decode)), images, None, **kwargs)


def bytes_images():
    images = torch.randint(0, 256, (20, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    return images


def test_bytes_and_grey_values_are_shaded_alike():
    images = bytes_images()
    scene = scene_of(images)
    assert torch.equal(scene.images.values, images)
    assert torch.equal(scene.data_pictures([3]).values[0], images[3])
    code = torch.tensor([[0.3, -0.5]])
    level = round(255 * float(flat(code)[0, 0, 0]))
    assert scene.pictures(flat(code)).values.unique().tolist() == [level]
    assert scene.reconstructions.values.float().std() > 10
    assert scene.note == "The decoder's pictures are in [0, 1], the images are not: they are divided by 255."


def test_other_scales_are_shaded_on_their_own():
    images = bytes_images().float()
    scene = scene_of(images, decode=lambda z: flat(z) - 0.5)
    assert scene.image_limits == (0.0, 255.0)
    low, high = scene.limits
    assert -0.5 <= low < high <= 0.5
    assert scene.note.startswith("The images go from 0 to 255, the decoder's pictures from -0.")
    assert scene.note.endswith(": each has shades of its own.")


@pytest.mark.parametrize("scale", [1, 0.3, 3])
def test_what_is_on_one_scale_shares_its_shades(scale):
    scene = scene_of(bytes_images().float() / 255 * scale, encode=lambda x: x.flatten(1)[:, :2] * 4)
    assert scene.limits == scene.image_limits
    assert scene.note == ""


@pytest.mark.parametrize("form", [(3, 128, 128), (3, 400, 300), (128, 128), (3, 90, 20), (3, 32, 32), (1, 8, 8)])
@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("brief", [False, True])
def test_the_grid_that_is_sent_stays_small(form, latent_dim, brief):
    def decode(codes):
        return torch.sigmoid(codes.sum(1)).view(-1, *[1] * len(form)).expand(-1, *form)

    images = torch.rand(4, latent_dim)
    scene = scene_of(images, encode=lambda x: x, decode=decode, brief=brief)
    assert scene.grid.values.numel() <= 1.02 * 2**20
    if form[-1] <= 32:
        assert tuple(scene.grid.values.shape[1:3]) == form[-2:]
    assert scene.num_columns >= 8
    assert len(scene.grid.values) == scene.num_rows * scene.num_columns
    if latent_dim == 2:
        assert scene.num_rows == scene.num_columns


@pytest.mark.parametrize("view", ["plane", "pca"])
@pytest.mark.parametrize(
    ("mean", "log_variance"), [(1e300, -2.0), (0.5, 800.0), (1e29, -2.0), (0.5, 130.0), (math.nan, -2.0)]
)
@pytest.mark.parametrize("num_bad", [1, 9])
def test_enormous_posteriors_do_not_stop_the_others(view, mean, log_variance, num_bad):
    def encode(images):
        means, log_variances = images[:, :2].double(), torch.full((len(images), 2), -2.0, dtype=torch.float64)
        bad = images[:, 2] < num_bad
        means[bad], log_variances[bad] = mean, log_variance
        return means, log_variances

    images = torch.rand(9, 4)
    images[:, 2] = torch.arange(9)
    scene = scene_of(images, encode=encode, decode=lambda z: torch.sigmoid(z.repeat(1, 2)), view=view)
    num_invalid = 0 if mean == 1e29 or log_variance == 130.0 else num_bad
    assert scene.space.num_invalid == num_invalid
    assert int((~torch.isfinite(scene.points).all(1)).sum()) == num_invalid
    assert scene.problem == ""
    assert scene.grid is not None
    assert all(math.isfinite(end) for ends in scene.box for end in ends)
    if num_invalid < 9:
        assert scene.space.moments.num_left_out == num_invalid
        assert torch.isfinite(scene.aggregated[0]).all()
        assert torch.isfinite(scene.space.kl).all()


def test_a_first_plane_may_go_through_a_code_and_costs_no_second_grid():
    num_decoded = []

    def decode(codes):
        num_decoded.append(len(codes))
        return torch.sigmoid(codes.sum(1)).view(-1, 1, 1).expand(-1, 4, 4)

    images = torch.rand(9, 4, generator=torch.Generator().manual_seed(0))
    code = [0.1, 0.2, 0.3, 0.4]
    scene = scene_of(images, encode=lambda x: x, decode=decode, view="plane", dims=(0, 1), brief=True, at=code)
    through = sum(num_decoded)
    assert scene.plane.at.tolist() == pytest.approx(code)
    assert scene.plane.lift(torch.zeros(1, 2))[0].tolist() == pytest.approx([0, 0, 0.3, 0.4])
    num_decoded.clear()
    scene_of(images, encode=lambda x: x, decode=decode, view="plane", dims=(0, 1), brief=True)
    assert through == sum(num_decoded)
    with pytest.raises(ValueError, match="at: expected 4 numbers"):
        scene_of(images, encode=lambda x: x, decode=decode, at=[1.0, 2.0])


class Listener:
    """A context that keeps what it was told."""

    def __init__(self):
        self.texts = []

    def report(self, fraction, text):
        self.texts.append(text)

    def cancelled(self):
        return False


def test_a_umap_plane_says_that_it_is_fitted_and_has_as_fine_a_grid(monkeypatch):
    class Reducer:
        def __init__(self, **_):
            pass

        def fit(self, rows):
            self.embedding_ = rows[:, :2]
            return self

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Reducer))
    listener = Listener()
    scene = scene_of(bytes_images(), lambda x: x.flatten(1)[:, :3] / 64 - 2, view="umap", context=listener)
    assert any(text.startswith("fitting UMAP") for text in listener.texts)
    assert (scene.num_rows, scene.num_columns) == (48, 48)
    assert not scene.plane.exact
