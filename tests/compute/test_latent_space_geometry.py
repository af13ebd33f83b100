"""Grids, paths, distances and coverage against closed forms and brute force."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from dlwidgets.compute.latent_space import (
    Posterior,
    box_coverage,
    class_coverage,
    contour,
    decode_grid,
    fit_pca,
    grid_codes,
    interpolate,
    latent_box,
    posterior_distance,
    prior_quantiles,
    train_vae,
)

f64 = {"dtype": torch.float64}
IDENTITY = (nn.Identity(), nn.Identity())


def vectors(latent_dim):
    return arrays(np.float64, latent_dim, elements=st.floats(-5, 5))


def pairs():
    return st.integers(1, 4).flatmap(lambda d: st.tuples(vectors(d), vectors(d)))


# ---- grids


@pytest.mark.parametrize("num_points", [1, 2, 9, 20])
def test_quantiles_of_the_prior(num_points):
    expected = [NormalDist().inv_cdf((i + 0.5) / num_points) for i in range(num_points)]
    assert prior_quantiles(num_points).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_grid_through_the_priors_quantiles():
    grid = decode_grid(IDENTITY, None, 4, 3)
    assert grid.shape == (4, 3, 2)
    for row in range(4):
        for column in range(3):
            x, y = NormalDist().inv_cdf((column + 0.5) / 3), NormalDist().inv_cdf((3 - row + 0.5) / 4)
            assert grid[row, column].tolist() == pytest.approx([x, y], abs=1e-12)


def test_a_grid_over_a_box_has_its_corners_and_row_zero_on_top():
    grid = decode_grid(IDENTITY, ((-1, 3), (10, 20)), 11, 5)
    assert grid[0, 0].tolist() == [-1, 20]
    assert grid[-1, -1].tolist() == [3, 10]
    assert grid[5, 2].tolist() == [1, 15]
    assert torch.allclose(grid.diff(dim=1)[..., 0], torch.tensor(1.0, **f64))
    assert torch.allclose(grid.diff(dim=0)[..., 1], torch.tensor(-1.0, **f64))
    assert decode_grid(IDENTITY, ((0, 2), (0, 4)), 1, 1).tolist() == [[[1, 2]]]


def test_a_grid_in_more_dimensions_goes_through_a_code():
    at = [1.0, 2.0, 3.0, 4.0]
    codes = grid_codes(((-1, 1), (-2, 2)), 3, 5, dims=(3, 0), at=at)
    assert codes.shape == (3, 5, 4)
    assert (codes[..., 1] == 2).all()
    assert (codes[..., 2] == 3).all()
    assert codes[0, :, 3].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert codes[:, 0, 0].tolist() == [2, 0, -2]


def test_a_grid_in_one_dimension_is_one_row():
    assert decode_grid(IDENTITY, ((-1, 1),), 7, 3).tolist() == [[[-1], [0], [1]]]
    assert decode_grid(IDENTITY, None, 7, 3, at=[0.0]).shape == (1, 3, 1)
    vae = train_vae(torch.rand(12, 3, 3), latent_dim=1, epochs=1)
    assert decode_grid(vae.autoencoder, None, 7, 4).shape == (1, 4, 3, 3)
    deep = train_vae(torch.rand(12, 3, 3), latent_dim=4, epochs=1)
    assert decode_grid(deep.autoencoder, None, 7, 4, dims=(1, 3)).shape == (7, 4, 3, 3)


def test_a_grid_in_a_projected_plane():
    codes = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), **f64)
    plane = fit_pca(codes)
    grid = decode_grid(IDENTITY, ((-1, 1), (-1, 1)), 3, 3, projection=plane, at=codes[0])
    points = grid_codes(((-1, 1), (-1, 1)), 3, 3)
    assert torch.allclose(plane.project(grid.flatten(0, 1)), points.flatten(0, 1))
    off_plane = torch.eye(4, **f64) - plane.components.T @ plane.components
    assert torch.allclose((grid - codes[0]) @ off_plane, torch.zeros(1, **f64), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"box": ((1, 0), (0, 1))}, ValueError, "box: expected finite low < high"),
        ({"box": ((0, math.inf), (0, 1))}, ValueError, "box: expected finite low < high"),
        ({"box": ()}, ValueError, "box: expected finite low < high"),
        ({"box": 3}, TypeError, r"box: expected one \(low, high\) pair per latent dimension, got 3"),
        ({"box": ((0, 1),) * 3}, ValueError, "box: a grid has two axes, got 3 intervals"),
        ({"num_rows": 0}, ValueError, "num_rows: expected an integer >= 1"),
        ({"num_columns": 2.5}, TypeError, "num_columns: expected an integer"),
        ({"dims": (0, 0)}, ValueError, "dims: expected two different dimensions below 2"),
        ({"dims": (0, 5), "at": [0.0] * 3}, ValueError, "dims: expected two different dimensions below 3"),
        ({"at": "origin"}, TypeError, "at: expected"),
        ({"projection": fit_pca(torch.eye(3))}, ValueError, "box: give the box in the projected plane"),
    ],
)
def test_bad_arguments_of_a_grid_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        decode_grid(IDENTITY, **arguments)


def test_a_latent_box_holds_all_finite_codes():
    codes = torch.tensor([[0.0, 1.0], [10.0, 1.0], [torch.nan, 99.0]])
    assert latent_box(codes) == ((-1, 11), (0, 2))
    assert latent_box(codes, margin=0) == ((0, 10), (0, 2))
    assert latent_box([3.0, 4.0]) == ((2, 4), (3, 5))
    (low, high), _ = latent_box(torch.tensor([[1e17, 0.0], [1e17, 0.0]], **f64))
    assert low < 1e17 < high
    with pytest.raises(ValueError, match="codes: none of the 1 codes is finite"):
        latent_box(torch.tensor([[torch.nan, 0.0]]))


# ---- paths


@given(pairs())
def test_a_straight_path(ends):
    a, b = ends
    path = interpolate(torch.tensor(a), torch.tensor(b), 7)
    assert torch.allclose(path.codes, torch.stack([torch.tensor(a + i / 6 * (b - a)) for i in range(7)]))
    assert path.length == pytest.approx(math.dist(a, b))


def angle_between(a, b):
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return math.acos(np.clip(a @ b / norms, -1, 1)) if norms > 1e-3 else 0.0


@given(pairs())
def test_a_spherical_path_is_shoemakes_and_its_length_that_of_a_fine_polygon(ends):
    a, b = ends
    w = angle_between(a, b)
    assume(min(np.linalg.norm(a), np.linalg.norm(b)) > 0.1 and 0.05 < w < 3.0)
    path = interpolate(torch.tensor(a), torch.tensor(b), 5, "spherical")
    expected = [(math.sin((1 - t) * w) * a + math.sin(t * w) * b) / math.sin(w) for t in np.linspace(0, 1, 5)]
    assert np.allclose(path.codes.numpy(), expected, atol=1e-6)
    assert path.codes[0].tolist() == a.tolist()
    assert path.codes[-1].tolist() == b.tolist()
    fine = interpolate(torch.tensor(a), torch.tensor(b), 4001, "spherical").codes
    assert path.length == pytest.approx(float(fine.diff(dim=0).norm(dim=1).sum()), rel=1e-4)
    assert path.length >= math.dist(a, b) - 1e-9


@given(vectors(3), vectors(3), st.floats(0.1, 10))
def test_between_equal_norms_the_arc_of_a_circle(a, b, radius):
    assume(min(np.linalg.norm(a), np.linalg.norm(b)) > 0.1)
    a, b = radius * a / np.linalg.norm(a), radius * b / np.linalg.norm(b)
    w = angle_between(a, b)
    assume(0.01 < w < 3.1)
    path = interpolate(torch.tensor(a), torch.tensor(b), 6, "spherical")
    assert path.length == pytest.approx(radius * w, rel=1e-6)
    assert torch.allclose(path.codes.norm(dim=1), torch.full((6,), radius, **f64))
    chords = path.codes.diff(dim=0).norm(dim=1)
    assert torch.allclose(chords, chords[0].expand(5), rtol=1e-6)


def test_a_quarter_of_the_unit_circle():
    path = interpolate([1.0, 0.0], [0.0, 1.0], 3, "spherical")
    assert path.length == pytest.approx(math.pi / 2, abs=1e-14)
    assert path.codes[1].tolist() == pytest.approx([math.sqrt(0.5)] * 2)


# The integral of the ellipse's speed with 40 digits (mpmath), between (1, 0) and 2 (-cos, sin) of a small angle.
@pytest.mark.parametrize(
    ("apart", "length"), [(1e-1, 19.43328574328282077), (1e-3, 1999.004332385325264), (1e-6, 1999999.000004333322)]
)
def test_between_nearly_opposite_ends_the_length_is_exact(apart, length):
    end = [-2 * math.cos(apart), 2 * math.sin(apart)]
    assert interpolate([1.0, 0.0], end, 3, "spherical").length == pytest.approx(length, rel=1e-14 / apart)


def test_parallel_codes_give_the_straight_path_and_nearly_parallel_ones_almost():
    straight = interpolate([1.0, 1.0], [3.0, 3.0], 5, "spherical")
    assert straight.length == pytest.approx(math.sqrt(8))
    nearly = interpolate([1.0, 1.0], [3.0, 3.0 + 1e-9], 5, "spherical")
    assert torch.allclose(nearly.codes, straight.codes, atol=1e-8)
    assert interpolate([2.0, 0.0], [2.0, 0.0], 2, "spherical").length == 0
    assert interpolate([1.0], [4.0], 4, "spherical").codes[:, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 0.0], [-2.0, 0.0], 5, "spherical"), "not defined between opposite directions"),
        (([1.0], [-2.0], 5, "spherical"), "not defined between opposite directions"),
        (([0.0, 0.0], [1.0, 0.0], 5, "spherical"), "both ends away from the origin"),
        (([1.0, 0.0], [1.0]), r"two codes of the same length, got \(1, 2\) and \(1, 1\)"),
        (([math.nan], [1.0]), "start, end: expected finite codes"),
        (([0.0], [1.0], 1), "num_steps: expected an integer >= 2"),
        (([0.0], [1.0], 3, "curved"), "kind: expected 'linear' or 'spherical', got 'curved'"),
    ],
)
def test_bad_paths_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        interpolate(*arguments)


# ---- contours


@given(seed=st.integers(0, 1000), share=st.floats(0.01, 0.99))
def test_a_contour_holds_its_share_of_the_probability(seed, share):
    source = torch.Generator().manual_seed(seed)
    factor, mean = torch.randn(2, 2, generator=source, **f64), torch.randn(2, generator=source, **f64)
    covariance = factor @ factor.T + 0.05 * torch.eye(2, **f64)
    points = contour(mean, covariance, share, 400)
    # all at one Mahalanobis distance, and that one holds the share: the square is chi-squared with 2 degrees of freedom
    squares = ((points - mean) @ torch.linalg.inv(covariance) * (points - mean)).sum(1)
    assert torch.allclose(squares, squares[0].expand(400))
    draws = torch.randn(20_000, 2, generator=source, **f64).square().sum(1)
    inside = float((draws < squares[0]).double().mean())
    assert inside == pytest.approx(share, abs=4.5 * math.sqrt(share * (1 - share) / 20_000))
    # the area of the polygon, positive because counter-clockwise, is that of the ellipse
    following = points.roll(-1, 0)
    area = 0.5 * float((points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum())
    expected = math.pi * float(squares[0]) * math.sqrt(float(torch.linalg.det(covariance)))
    assert area == pytest.approx(expected, rel=1e-3)


def test_the_contours_of_the_prior_are_circles_and_those_of_a_point_a_point():
    one_sd = contour([0.0, 0.0], torch.eye(2), share=1 - math.exp(-0.5))
    assert torch.allclose(one_sd.norm(dim=1), torch.ones(64, **f64))
    assert torch.allclose(one_sd[0], torch.tensor([1.0, 0.0], **f64))
    assert torch.equal(contour([1.0, 2.0], torch.zeros(2)), torch.tensor([[1.0, 2.0]], **f64).expand(64, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0] * 3, torch.eye(3)), r"expected a Gaussian in the plane.*got \(3,\) and \(3, 3\)"),
        (([0.0, math.nan], torch.eye(2)), "expected finite numbers"),
        (([0.0, 0.0], torch.tensor([1.0, -1.0])), "covariance: expected a matrix without negative eigenvalues"),
        (([0.0, 0.0], torch.eye(2), 1.0), "share: expected a number between 0 and 1, got 1"),
        (([0.0, 0.0], torch.eye(2), 0.0), "share: expected a finite number > 0"),
        (([0.0, 0.0], torch.eye(2), 0.5, 2), "num_points: expected an integer >= 3"),
    ],
)
def test_bad_contours_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        contour(*arguments)


# ---- distances and coverage


def gaussians(num_samples, latent_dim, seed):
    source = torch.Generator().manual_seed(seed)
    mean = torch.randn(num_samples, latent_dim, generator=source, **f64)
    return Posterior(mean, torch.randn(num_samples, latent_dim, generator=source, **f64))


@given(latent_dim=st.integers(1, 4), num_samples=st.integers(1, 12), seed=st.integers(0, 1000))
def test_distance_against_a_naive_loop(latent_dim, num_samples, seed):
    q = gaussians(num_samples, latent_dim, seed)
    codes = torch.randn(6, latent_dim, generator=torch.Generator().manual_seed(seed + 1), **f64)
    found = posterior_distance(codes, q)
    for i, z in enumerate(codes.tolist()):
        distances = [
            math.sqrt(sum(((a - m) / s) ** 2 for a, m, s in zip(z, mean, sd, strict=True)))
            for mean, sd in zip(q.mean.tolist(), q.sd.tolist(), strict=True)
        ]
        assert float(found.value[i]) == pytest.approx(min(distances), rel=1e-9)
        assert distances[int(found.nearest[i])] == pytest.approx(min(distances), rel=1e-12)


def test_distance_to_posteriors_of_no_width_and_to_invalid_ones():
    points = Posterior(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.full((2, 2), -math.inf))
    assert posterior_distance([[1.0, 1.0], [1.0, 2.0]], points).value.tolist() == [0, math.inf]
    broken = Posterior(torch.tensor([[torch.nan, 0.0], [0.0, 3.0]]), torch.zeros(2, 2))
    found = posterior_distance([0.0, 0.0], broken)
    assert (float(found.value), int(found.nearest)) == (3.0, 1)
    with pytest.raises(ValueError, match="none of the 1 posteriors is finite"):
        posterior_distance([0.0, 0.0], Posterior(broken.mean[:1], broken.log_variance[:1]))
    with pytest.raises(ValueError, match=r"codes: expected 2 latent dimensions, got shape \(1, 3\)"):
        posterior_distance([0.0, 0.0, 0.0], points)


def test_many_codes_are_compared_in_blocks():
    q = gaussians(1500, 2, seed=0)
    codes = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1), **f64)
    whole = posterior_distance(codes, q)
    for i in (0, 699, 700, 1999):
        assert float(whole.value[i]) == pytest.approx(float((((codes[i] - q.mean) / q.sd) ** 2).sum(1).min().sqrt()))


def test_coverage_of_an_ellipse_in_a_box():
    sd = torch.tensor([[0.5, 0.25]], **f64)
    q = Posterior(torch.zeros(1, 2, **f64), 2 * sd.log())
    found = box_coverage(q, ((-2, 2), (-1, 1)), num_points=20_000)
    expected = math.pi * (2 * 0.5) * (2 * 0.25) / 8
    assert abs(found.share - expected) < 4.5 * found.standard_error
    assert found.standard_error == pytest.approx(math.sqrt(found.share * (1 - found.share) / 20_000))
    assert found.num_points == 20_000
    assert box_coverage(q, ((-2, 2), (-1, 1)), within=100).share == 1
    assert box_coverage(q, ((5, 6), (5, 6))).share == 0


def test_coverage_of_the_box_around_the_means():
    q = gaussians(30, 3, seed=2)
    assert box_coverage(q).share == box_coverage(q, latent_box(q.mean, 0)).share
    deterministic = Posterior(q.mean, torch.full_like(q.mean, -math.inf))
    assert box_coverage(deterministic).share == 0
    assert box_coverage(gaussians(1, 2, seed=0)).share > 0


# ---- classes of samples


def quadrants():
    """A decoder whose picture depends on the quadrant of z only, and one image for each quadrant."""
    return (lambda x: x.flatten(1)[:, :2] * 0, lambda z: (z > 0).to(z.dtype).view(-1, 2, 1)), torch.tensor(
        [[[0.0], [0.0]], [[0.0], [1.0]], [[1.0], [0.0]], [[1.0], [1.0]]]
    )


def test_each_quadrant_of_the_prior_holds_a_quarter_of_the_samples():
    autoencoder, images = quadrants()
    found = class_coverage(autoencoder, images, ["a", "b", "c", "a"], num_samples=10_000)
    assert found.classes == ("a", "b", "c")
    expected = torch.tensor([0.5, 0.25, 0.25], **f64)
    error = (expected * (1 - expected) / 10_000).sqrt()
    assert ((found.share - expected).abs() < 4.5 * error).all()
    assert int(found.counts.sum()) == found.num_samples == 10_000
    assert found.num_failed == 0
    assert found.num_classes(0.3) == 1
    assert found.num_classes() == 3
    again = class_coverage(autoencoder, images, ["a", "b", "c", "a"], num_samples=10_000)
    assert torch.equal(again.counts, found.counts)
    other = class_coverage(autoencoder, images, ["a", "b", "c", "a"], num_samples=10_000, seed=1)
    assert not torch.equal(other.counts, found.counts)


def test_the_classifiers_accuracy_leaves_each_image_out():
    images = torch.tensor([[0.0], [0.1], [0.2], [1.0], [1.1]])
    pair = (lambda x: x, lambda z: z)
    assert class_coverage(pair, images, [0, 0, 0, 1, 1], num_samples=1).accuracy == 1
    assert class_coverage(pair, images, [0, 0, 0, 1, 2], num_samples=1).accuracy == pytest.approx(0.6)
    assert math.isnan(class_coverage(pair, images[:1], [0], num_samples=1).accuracy)


def test_one_class_and_ten_thousand_classes():
    autoencoder, images = quadrants()
    single = class_coverage(autoencoder, images, [7] * 4, num_samples=100)
    assert (single.classes, single.counts.tolist(), single.num_classes()) == ((7,), [100], 1)
    pair = (lambda x: x[:, :1], lambda z: z.expand(-1, 2))
    every = class_coverage(pair, torch.rand(10_000, 2), torch.arange(10_000), num_samples=100)
    assert len(every.classes) == 10_000
    assert int(every.counts.sum()) == 100


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_images_that_are_not_finite_are_left_out_of_the_classifier(bad):
    autoencoder, images = quadrants()
    wanted = class_coverage(autoencoder, images, ["a", "b", "c", "a"], num_samples=500)
    assert wanted.num_left_out == 0
    broken = torch.cat([torch.full_like(images[:1], bad), images])
    broken[0, 0, 0] = 0.5
    found = class_coverage(autoencoder, broken, ["z", "a", "b", "c", "a"], num_samples=500)
    assert found.classes == ("a", "b", "c", "z")
    assert found.counts.tolist() == [*wanted.counts.tolist(), 0]
    assert found.accuracy == wanted.accuracy
    assert found.num_left_out == 1
    with pytest.raises(ValueError, match="images: expected at least one of finite values, got none among 4"):
        class_coverage(autoencoder, images * bad, ["a"] * 4)


def test_bytes_are_compared_with_grey_values_on_one_scale():
    autoencoder, images = quadrants()
    wanted = class_coverage(autoencoder, images, [0, 1, 2, 3], num_samples=500)
    for scaled in ((images * 255).to(torch.uint8), images * 255, images * 16):
        found = class_coverage(autoencoder, scaled, [0, 1, 2, 3], num_samples=500)
        assert torch.equal(found.counts, wanted.counts)


def test_samples_that_cannot_be_decoded_are_counted():
    def fussy(z):
        if (z[:, 0] > 0).any():
            raise RuntimeError("too far")
        return torch.where(z[:, 1:] > 0, torch.nan, 0.0).expand(-1, 2)

    found = class_coverage((lambda x: x, fussy), torch.zeros(1, 2), [0], num_samples=400)
    assert int(found.counts.sum()) + found.num_failed == 400
    assert 0.65 < found.num_failed / 400 < 0.85


@pytest.mark.parametrize(
    ("labels", "decoder", "error", "message"),
    [
        ([0], nn.Identity(), ValueError, "labels: expected one label for each of the 3 images"),
        ([0.5] * 3, nn.Identity(), TypeError, "labels: expected integers or strings"),
        ([0, 1, 2], lambda z: z[:, :1], ValueError, "decode: expected pictures of 2 values like the images, got 1"),
    ],
)
def test_bad_arguments_of_class_coverage_are_named(labels, decoder, error, message):
    with pytest.raises(error, match=message):
        class_coverage((nn.Identity(), decoder), torch.zeros(3, 2), labels)


def test_near_twins_are_told_apart() -> None:
    """torch.cdist's matrix product confuses pictures whose distance is small beside their norm."""
    torch.manual_seed(0)
    pictures = 0.5 + 0.02 * torch.rand(300, 784)
    pictures[1::2] = pictures[::2] + 1e-4
    even = pictures[::2]
    found = class_coverage(
        (lambda x: torch.zeros(len(x), 2), lambda z: even[torch.arange(len(z)) % 150]),
        pictures,
        torch.arange(300) % 2,
        num_samples=300,
    )
    assert found.counts.tolist() == [300, 0]
