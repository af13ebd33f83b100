"""Planes to look at a latent space: PCA against scikit-learn, UMAP with a stand-in for its embedding."""

import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA as SklearnPCA

from dlwidgets.compute.latent_space import fit_pca, fit_umap, grid_codes

f64 = {"dtype": torch.float64}


@given(latent_dim=st.integers(2, 6), seed=st.integers(0, 1000))
def test_pca_is_that_of_scikit_learn_and_its_lift_is_exact(latent_dim, seed):
    source = torch.Generator().manual_seed(seed)
    codes = torch.randn(30, latent_dim, generator=source, **f64) * torch.arange(1, latent_dim + 1)
    pca, reference = fit_pca(codes), SklearnPCA(2, svd_solver="full").fit(codes.numpy())
    assert np.allclose(np.abs(pca.components.numpy() @ reference.components_.T), np.eye(2), atol=1e-8)
    assert np.allclose(pca.explained_variance.numpy(), reference.explained_variance_ * 29 / 30)
    assert pca.explained_share == pytest.approx(float(reference.explained_variance_ratio_.sum()))
    assert torch.allclose(pca.components @ pca.components.T, torch.eye(2, **f64))
    points = torch.randn(9, 2, generator=source, **f64)
    assert torch.allclose(pca.project(pca.lift(points)), points, atol=1e-12)
    assert torch.allclose(pca.lift(pca.project(codes), through=codes), codes, atol=1e-12)
    through = pca.lift(points, through=codes[3])
    assert torch.allclose(pca.project(through), points, atol=1e-12)
    assert torch.allclose((through - codes[3]) - (through - codes[3]) @ pca.components.T @ pca.components, 0 * through)
    nearest = pca.lift(pca.project(codes))  # the orthogonal projection: what is left stands upright on the plane
    assert torch.allclose((codes - nearest) @ pca.components.T, torch.zeros(1, **f64), atol=1e-12)


def test_pca_of_a_line_a_point_and_codes_with_nan():
    line = torch.arange(5.0)[:, None] * torch.tensor([3.0, 0.0, 4.0])
    pca = fit_pca(torch.cat([line, torch.full((1, 3), torch.nan)]))
    assert torch.allclose(pca.components[0], torch.tensor([0.6, 0.0, 0.8], **f64))
    assert pca.explained_share == pytest.approx(1)
    for codes in (torch.ones(1, 3), torch.ones(7, 3)):
        point = fit_pca(codes)
        assert point.explained_share == 1.0
        assert torch.allclose(point.components @ point.components.T, torch.eye(2, **f64))
        assert torch.equal(point.project(codes), torch.zeros(len(codes), 2, **f64))
    assert fit_pca(torch.rand(5, 1), 1).components.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_pca(torch.rand(5, 1)), "num_components: expected at most the 1 latent dimensions, got 2"),
        (lambda: fit_pca(torch.full((3, 2), torch.nan)), "codes: none of the 3 codes is finite"),
        (lambda: fit_pca(torch.eye(3)).project([1.0, 2.0]), r"codes: expected \(code, 3\), got \(1, 2\)"),
        (lambda: fit_pca(torch.eye(3)).lift([1.0, 2.0, 3.0]), r"points: expected \(point, 2\), got \(1, 3\)"),
        (lambda: fit_pca(torch.eye(3)).lift([1.0, 2.0], through=[0.0]), r"through: expected \(code, 3\), got \(1, 1\)"),
    ],
)
def test_bad_projections_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_umap_learn_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        fit_umap(torch.rand(20, 3))


class Reducer:
    """What `fit_umap` uses of umap.UMAP: here the first two numbers of a code, the other way round."""

    def __init__(self, **keywords):
        self.keywords = keywords

    def fit(self, rows):
        self.num_rows = len(rows)
        self.embedding_ = -rows[:, :2]
        return self


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Reducer))


@pytest.mark.parametrize(("num_codes", "num_neighbours"), [(20, 15), (4, 3)])
def test_umap_is_fitted_to_the_finite_codes_without_a_warning(stand_in, num_codes, num_neighbours):
    codes = torch.cat([torch.rand(num_codes, 3), torch.full((1, 3), torch.nan)])
    projection = fit_umap(codes, seed=3)
    assert not projection.exact
    assert projection.reducer.num_rows == num_codes
    # umap-learn warns if it has to set one of the last two itself
    assert projection.reducer.keywords == {
        "n_components": 2,
        "random_state": 3,
        "n_neighbors": num_neighbours,
        "n_jobs": 1,
    }
    assert torch.equal(projection.project(codes[:num_codes]), -codes[:num_codes, :2].double())


def test_the_ways_to_a_umap_plane_and_back_meet_at_the_fitted_codes(stand_in):
    codes = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), **f64)
    projection = fit_umap(codes)
    points = -codes[:50, :2]
    assert torch.allclose(projection.lift(points), codes[:50], atol=1e-6)
    assert torch.allclose(projection.project(codes[:50]), points, atol=1e-6)
    between = projection.lift([[-0.5, -0.5]])
    near = (codes[:, :2] - 0.5).norm(dim=1).argsort()[:15]
    assert between[0, :2].tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    assert codes[near, 2].min() <= between[0, 2] <= codes[near, 2].max()
    assert grid_codes(((0, 1), (0, 1)), 2, 2, projection=projection).shape == (2, 2, 3)


def test_the_way_back_from_a_umap_plane_is_steady(stand_in):
    codes = torch.rand(200, 3, generator=torch.Generator().manual_seed(1), **f64)
    along = torch.linspace(-0.9, -0.1, 4001, **f64)
    lifted = fit_umap(codes).lift(torch.stack([along, torch.full_like(along, -0.5)], 1))
    assert lifted.diff(dim=0).abs().max() < 0.02, "no jump where the neighbours change"
    assert lifted[:, 2].std() > 0.05


@pytest.mark.parametrize("far", [10.0, 1e8, 1e30, 1e300])
def test_outside_a_umap_plane_the_edge_of_the_cloud_answers(stand_in, far):
    codes = torch.rand(200, 3, generator=torch.Generator().manual_seed(2), **f64)
    (code,) = fit_umap(codes).lift([[far, far]])
    assert bool(((code >= 0) & (code <= 1)).all())
    if far == 10:
        assert code[:2].norm() < 0.5, "the corner next to it"


def test_codes_at_one_place_have_a_way_to_a_umap_plane_and_back(stand_in):
    projection = fit_umap(torch.ones(30, 3))
    assert torch.allclose(projection.lift([[-1.0, -1.0], [5.0, 5.0]]), torch.ones(2, 3, **f64))
    assert torch.allclose(projection.project([1.0, 1.0, 1.0]), -torch.ones(1, 2, **f64))


def test_bad_input_of_umap_is_named(stand_in):
    codes = torch.rand(20, 3)
    with pytest.raises(ValueError, match="through: UMAP has no parallel planes"):
        fit_umap(codes).lift([[1.0, 2.0]], through=codes[0])
    with pytest.raises(ValueError, match="codes: UMAP needs at least 4 of them, got 3"):
        fit_umap(codes[:3])
