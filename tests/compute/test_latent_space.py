"""What the KL term does, on scikit-learn's digits: 1,500 training images, 200 epochs, beta 0, 1 and 4."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import binary_cross_entropy

from dlwidgets.compute.latent_space import (
    active_units,
    aggregated_posterior,
    box_coverage,
    class_coverage,
    decode,
    log_likelihood,
    posterior,
    reconstruct,
    train_vae,
)

EPOCHS = 200


@pytest.fixture(scope="module")
def digits():
    """Training images, their labels, held-out images."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.images), generator=torch.Generator().manual_seed(0))
    images, labels = torch.tensor(bunch.images / 16)[order], torch.tensor(bunch.target)[order]
    return images[:1500], labels[:1500], images[1500:]


@pytest.fixture(scope="module")
def trained(digits):
    """One VAE for each beta."""
    images, labels, held_out = digits
    return {beta: train_vae(images, labels, beta=beta, epochs=EPOCHS, held_out=held_out) for beta in (0.0, 1.0, 4.0)}


@pytest.fixture(scope="module")
def trained_from_another_seed(digits):
    """One VAE for each beta; the large one collapses within a few epochs."""
    images, labels, held_out = digits
    epochs = {0.0: EPOCHS, 1.0: EPOCHS, 4.0: 40}
    return {
        beta: train_vae(images, labels, beta=beta, epochs=count, held_out=held_out, seed=1)
        for beta, count in epochs.items()
    }


@pytest.fixture(scope="module")
def mean_image_elbo(digits):
    images, _, held_out = digits
    mean = images.mean(0).clamp(1e-9, 1 - 1e-9).expand_as(held_out)
    return -float(binary_cross_entropy(mean, held_out, reduction="sum")) / len(held_out)


def test_the_shapes_and_the_definition_of_the_elbo(trained):
    for vae in trained.values():
        assert vae.codes.shape == (EPOCHS + 1, 1500, 2)
        assert vae.history.reconstruction.shape == vae.history.kl.shape == vae.history.elbo.shape == (EPOCHS,)
        assert torch.equal(vae.history.elbo, -(vae.history.reconstruction + vae.history.kl))
        assert (vae.history.reconstruction > 0).all()
        assert (vae.history.kl >= 0).all()


def test_without_the_kl_term_reconstructions_get_better_and_the_elbo_much_worse(trained):
    assert trained[0.0].history.reconstruction[-1] < trained[1.0].history.reconstruction[-1]
    assert trained[0.0].history.elbo[-1] < trained[1.0].history.elbo[-1] - 15


def test_the_elbo_of_the_plain_vae(trained, mean_image_elbo):
    assert -25 <= trained[1.0].history.elbo[-1] <= -23.3
    assert trained[1.0].history.elbo[-1] > mean_image_elbo + 2
    assert mean_image_elbo == pytest.approx(-27.1, abs=0.3)
    assert trained[1.0].mean_image_elbo == pytest.approx(mean_image_elbo, abs=1e-5)


def test_without_the_kl_term_posteriors_shrink_to_points(trained, digits):
    sd = {beta: float(posterior(vae.autoencoder, digits[0]).sd.mean()) for beta, vae in trained.items()}
    assert sd[0.0] < 0.01
    assert 0.12 < sd[1.0] < 0.4
    assert sd[4.0] == pytest.approx(1, abs=0.05)


def test_a_large_beta_collapses_to_the_mean_image(trained, digits, mean_image_elbo):
    vae = trained[4.0]
    assert vae.history.kl[-1] < 0.05
    assert abs(vae.history.elbo[-1] - mean_image_elbo) < 0.5
    codes = posterior(vae.autoencoder, digits[0])
    assert not active_units(codes).any()
    pictures = decode(vae.autoencoder, torch.tensor([[0.0, 0.0], [1.5, -1.5]]))
    assert torch.allclose(pictures[0], digits[0].mean(0).float(), atol=0.05)
    assert torch.allclose(pictures[0], pictures[1], atol=0.05)


def test_what_the_kl_term_does_holds_for_another_seed(trained_from_another_seed, trained, mean_image_elbo):
    last = {beta: vae.history for beta, vae in trained_from_another_seed.items()}
    assert last[1.0].elbo[-1] != trained[1.0].history.elbo[-1]
    assert last[0.0].reconstruction[-1] < last[1.0].reconstruction[-1]
    assert last[0.0].elbo[-1] < last[1.0].elbo[-1] - 15
    assert -25 <= last[1.0].elbo[-1] <= -23.3
    assert last[0.0].kl[-1] > 10 > last[1.0].kl[-1] > 1
    assert last[4.0].kl[-1] < 0.05
    assert abs(last[4.0].elbo[-1] - mean_image_elbo) < 0.5


def test_both_dimensions_are_active_with_and_without_the_kl_term(trained, digits):
    for beta in (0.0, 1.0):
        assert active_units(posterior(trained[beta].autoencoder, digits[0])).tolist() == [True, True]


def test_samples_of_the_prior_miss_classes_without_the_kl_term(trained, digits):
    images, labels, _ = digits
    found = {beta: class_coverage(trained[beta].autoencoder, images, labels, num_samples=10_000) for beta in (0.0, 1.0)}
    assert found[1.0].accuracy > 0.98
    assert found[1.0].num_classes(0.02) == 10
    assert found[0.0].num_classes(0.02) <= 8
    assert all(int(result.counts.sum()) == 10_000 for result in found.values())


def test_the_aggregated_posterior_covers_the_prior_only_with_the_kl_term(trained, digits):
    moments = {beta: aggregated_posterior(posterior(vae.autoencoder, digits[0])) for beta, vae in trained.items()}
    assert torch.allclose(moments[1.0].covariance, torch.eye(2, dtype=torch.float64), atol=0.3)
    assert moments[1.0].mean.abs().max() < 0.3
    assert moments[0.0].covariance.diagonal().min() > 5
    share = {beta: box_coverage(posterior(vae.autoencoder, digits[0])).share for beta, vae in trained.items()}
    assert share[0.0] < 0.05
    assert share[1.0] > 0.6


def test_an_encoded_image_is_not_the_standard_normal_and_its_code_is_drawn_anew_each_time(trained, digits):
    vae, image = trained[1.0], digits[0][:1]
    first, again = posterior(vae.autoencoder, image), posterior(vae.autoencoder, image)
    assert torch.equal(first.mean, again.mean)
    z = first.sample(2)
    assert not torch.equal(z[0], z[1])
    pictures = decode(vae.autoencoder, z[:, 0])
    assert not torch.equal(pictures[0], pictures[1])
    assert (first.sd < 0.9).all()


def test_the_elbo_lies_below_log_p_for_every_image(trained, digits):
    held_out = digits[2]
    for beta in (1.0, 4.0):
        evidence = log_likelihood(trained[beta].autoencoder, held_out, num_draws=100)
        assert (evidence.elbo <= evidence.log_likelihood).all()
        assert float(evidence.elbo.mean()) == pytest.approx(float(trained[beta].history.elbo[-1]), abs=0.2)


def test_the_last_codes_are_those_of_the_autoencoder_returned(trained, digits):
    for vae in trained.values():
        assert torch.allclose(vae.codes[-1], posterior(vae.autoencoder, digits[0]).mean, atol=1e-4)
        assert vae.classes == tuple(range(10))
        assert torch.equal(vae.labels, digits[1])


def test_reconstructions_look_more_like_their_images_than_the_mean_image_does(trained, digits):
    images = digits[0]
    error = (reconstruct(trained[1.0].autoencoder, images) - images).square().sum((1, 2))
    mean_error = (images.mean(0) - images).square().sum((1, 2))
    assert float((error < mean_error).double().mean()) > 0.9


def test_about_fifty_epochs_already_make_a_good_space(trained):
    assert trained[1.0].history.elbo[49] > trained[1.0].mean_image_elbo + 2
