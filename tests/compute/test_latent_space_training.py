"""train_vae: what it promises about its arguments, its randomness and its reports."""

import inspect
import math
import pickle
import random

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from dlwidgets.compute.context import Cancelled
from dlwidgets.compute.latent_space import VAE, posterior, train_vae


def some_images(num_images=60, shape=(3, 4), seed=0):
    return torch.rand(num_images, *shape, generator=torch.Generator().manual_seed(seed))


def parameters(vae):
    return [parameter.clone() for parameter in vae.autoencoder.parameters()]


def same(first: VAE, second: VAE) -> bool:
    pairs = [(first.codes, second.codes), (first.history.elbo, second.history.elbo)]
    pairs += list(zip(parameters(first), parameters(second), strict=True))
    return all(torch.equal(a, b) for a, b in pairs)


class Listener:
    """A context that remembers what it hears, and stops when told to."""

    def __init__(self, stop_after=math.inf):
        self.reports, self.snapshots, self.stop_after, self.questions = [], [], stop_after, 0

    def report(self, fraction, text):
        self.reports.append((fraction, text))

    def cancelled(self):
        self.questions += 1
        return len(self.reports) >= self.stop_after

    def publish(self, snapshot):
        self.snapshots.append(snapshot)


def test_the_signature_is_the_agreed_one():
    names = list(inspect.signature(train_vae).parameters.items())
    assert [name for name, _ in names[:9]] == [
        *("images", "labels", "latent_dim", "beta", "epochs", "seed", "held_out", "device", "context")
    ]
    defaults = {name: parameter.default for name, parameter in names[1:]}
    assert defaults.pop("beta") == 1.0
    assert defaults == {
        "labels": None,
        "latent_dim": 2,
        "epochs": 50,
        "seed": 0,
        "held_out": None,
        "device": None,
        "context": None,
        "kl_warm_up": 0,
    }


def test_the_default_network():
    vae = train_vae(some_images(), latent_dim=3, epochs=0)
    shapes = [tuple(p.shape) for p in vae.autoencoder.parameters() if p.dim() == 2]
    assert shapes == [(256, 12), (128, 256), (6, 128), (128, 3), (256, 128), (12, 256)]
    for weight in (p for p in vae.autoencoder.parameters() if p.dim() == 2):
        assert float(weight.abs().max()) <= 1 / math.sqrt(weight.shape[1])
        assert float(weight.abs().max()) > 0.9 / math.sqrt(weight.shape[1])


def test_a_sixth_is_held_out_and_the_codes_keep_the_input_order():
    images, labels = some_images(60), torch.arange(60)
    vae = train_vae(images, labels, epochs=2)
    assert vae.codes.shape == (3, 50, 2)
    assert torch.equal(vae.train_index, vae.train_index.sort().values)
    assert sorted(vae.train_index.tolist() + vae.held_out_index.tolist()) == list(range(60))
    assert torch.equal(vae.labels, vae.train_index)
    assert torch.allclose(vae.codes[-1], posterior(vae.autoencoder, images[vae.train_index]).mean, atol=1e-6)
    other = train_vae(images, labels, epochs=0, seed=1)
    assert not torch.equal(other.train_index, vae.train_index)


def test_row_zero_is_the_space_before_training():
    images = some_images()
    untrained, trained = train_vae(images, epochs=0), train_vae(images, epochs=3)
    assert torch.equal(untrained.codes[0], trained.codes[0])
    assert len(untrained.history.elbo) == 0
    assert not torch.equal(trained.codes[0], trained.codes[3])


def test_the_history_is_measured_on_held_out_images_by_its_definition():
    images, held_out = some_images(), some_images(25, seed=1)
    vae = train_vae(images, epochs=2, held_out=held_out)
    assert vae.codes.shape == (3, 60, 2)
    q = posterior(vae.autoencoder, held_out)
    assert float(vae.history.kl[-1]) == pytest.approx(float(q.kl.sum(1).mean()), rel=1e-5)
    # the expectation over z by many draws of its own
    z = q.sample(2000, seed=5).flatten(0, 1)
    x = held_out.flatten(1).repeat(2000, 1)
    entropy = binary_cross_entropy_with_logits(vae.autoencoder.logits(z), x, reduction="none").sum(1)
    assert float(vae.history.reconstruction[-1]) == pytest.approx(float(entropy.mean()), abs=0.02)


def test_the_first_step_is_that_of_adam_on_the_stated_loss():
    # One batch in one epoch: Adam's first step is -lr * sign(gradient), for each parameter.
    images, beta, num_draws = some_images(100), 2.0, 30
    before = train_vae(images, epochs=0, held_out=images)
    after = train_vae(images, epochs=1, held_out=images, beta=beta)
    steps = torch.cat([(b - a).flatten() for a, b in zip(parameters(before), parameters(after), strict=True)])
    assert float(steps.abs().max()) == pytest.approx(2e-3, rel=1e-3)
    net = before.autoencoder.requires_grad_(True)
    source = torch.Generator().manual_seed(3)
    gradients = []
    for _ in range(num_draws):
        mean, log_variance = net.encode(images)
        z = mean + torch.exp(log_variance / 2) * torch.randn(100, 2, generator=source)
        p = torch.sigmoid(net.logits(z))
        x = images.flatten(1)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
        loss = -(x * p.log() + (1 - x) * (1 - p).log()).sum() + beta * kl.sum()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss / 100, list(net.parameters()))]))
    mean, spread = torch.stack(gradients).mean(0), torch.stack(gradients).std(0)
    clear = mean.abs() > 6 * spread  # whatever noise the training drew, the sign is this one
    clear &= mean.abs() > 1e-5
    assert int(clear.sum()) > 1000
    assert torch.equal(steps[clear].sign(), -mean[clear].sign())


def test_the_same_seed_gives_the_same_result_and_another_seed_another():
    images = some_images()
    first = train_vae(images, epochs=3, seed=4)
    assert same(first, train_vae(images, epochs=3, seed=4))
    assert not same(first, train_vae(images, epochs=3, seed=5))


def test_what_is_measured_does_not_change_what_is_trained():
    images = some_images()
    first = train_vae(images, epochs=3, held_out=some_images(5, seed=1))
    second = train_vae(images, epochs=3, held_out=some_images(30, seed=2))
    assert torch.equal(first.codes, second.codes)


def test_the_global_state_is_neither_used_nor_changed():
    images = some_images()
    expected = train_vae(images, epochs=2)
    torch.manual_seed(11)
    np.random.seed(12)  # noqa: NPY002
    random.seed(13)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    with torch.no_grad():
        assert same(expected, train_vae(images, epochs=2))
    with torch.inference_mode():
        assert same(expected, train_vae(images + 0, epochs=2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(expected, train_vae(images, epochs=2))
        assert torch.is_autocast_enabled("cpu")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        assert same(expected, train_vae(images, epochs=2))
    finally:
        torch.set_default_dtype(default)
        torch.set_default_device(None)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]


def test_images_are_left_alone_and_may_come_as_any_float_type_or_from_numpy():
    images = some_images()
    kept = images.clone()
    expected = train_vae(images, epochs=1)
    assert torch.equal(images, kept)
    assert same(expected, train_vae(images.double(), epochs=1))
    assert same(expected, train_vae(images.numpy(), epochs=1))
    assert same(expected, train_vae(images.clone().requires_grad_(True), epochs=1))
    assert same(expected, train_vae(np.flip(np.flip(images.numpy(), 0).copy(), 0), epochs=1))


def test_values_that_rounding_put_just_outside_are_taken_as_inside():
    images = some_images()
    images[0, 0, 0], images[1, 0, 0] = 0.0, 1.0
    expected = train_vae(images, epochs=1)
    images[0, 0, 0], images[1, 0, 0] = -1e-7, 1.0000002
    assert same(expected, train_vae(images, epochs=1))


def test_the_result_is_detached_and_on_the_cpu_and_can_travel():
    vae = pickle.loads(pickle.dumps(train_vae(some_images(), epochs=1)))
    tensors = [vae.codes, vae.history.elbo, vae.history.kl, vae.autoencoder.decode(torch.zeros(1, 2))]
    assert not any(tensor.requires_grad for tensor in tensors)
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert not vae.autoencoder.training


def test_the_context_hears_of_every_epoch():
    listener = Listener()
    train_vae(some_images(), epochs=4, context=listener)
    assert [fraction for fraction, _ in listener.reports] == [0.25, 0.5, 0.75, 1.0]
    assert listener.reports[0][1].startswith("epoch 1 of 4")


def test_the_context_stops_the_training_between_batches():
    listener = Listener(stop_after=2)
    with pytest.raises(Cancelled):
        train_vae(some_images(), epochs=50, context=listener)
    assert len(listener.reports) == 2
    patient = Listener()
    train_vae(some_images(301), held_out=some_images(5), epochs=2, context=patient)
    assert patient.questions >= 2 * 4  # 301 images are four batches


@pytest.mark.parametrize("epochs", [0, 1])
def test_what_is_cancelled_before_it_starts_raises(epochs):
    listener = Listener(stop_after=0)
    with pytest.raises(Cancelled):
        train_vae(some_images(), epochs=epochs, context=listener)
    assert listener.reports == listener.snapshots == []


def test_a_context_that_publishes_sees_the_space_forming():
    listener = Listener()
    vae = train_vae(some_images(), epochs=3, context=listener)
    assert [snapshot.epoch for snapshot in listener.snapshots] == [0, 1, 2, 3]
    for snapshot in listener.snapshots:
        assert torch.equal(snapshot.codes, vae.codes[snapshot.epoch])
        arrived = pickle.loads(pickle.dumps(snapshot))
        encoded = posterior(arrived.autoencoder, some_images()[vae.train_index]).mean
        assert torch.allclose(encoded, snapshot.codes, atol=1e-6)
    assert [s.kl for s in listener.snapshots[1:]] == vae.history.kl.tolist()
    assert [s.reconstruction for s in listener.snapshots[1:]] == vae.history.reconstruction.tolist()
    assert same(vae, train_vae(some_images(), epochs=3))


def test_kl_warm_up_raises_beta_linearly():
    images = some_images()
    plain = train_vae(images, epochs=1, beta=1.0)
    quarter = train_vae(images, epochs=1, beta=4.0, kl_warm_up=4)
    assert torch.equal(plain.codes, quarter.codes)
    assert not same(train_vae(images, epochs=4, beta=4.0), train_vae(images, epochs=4, beta=4.0, kl_warm_up=4))
    assert same(train_vae(images, epochs=4, beta=4.0), train_vae(images, epochs=4, beta=4.0, kl_warm_up=1))


def test_any_shape_of_image_and_any_number_of_latent_dimensions():
    for shape, latent_dim in (((7,), 1), ((1, 5, 6), 2), ((3, 4, 4), 5), ((2, 2, 2, 2), 3)):
        images = some_images(12, shape)
        vae = train_vae(images, epochs=1, latent_dim=latent_dim)
        assert vae.codes.shape == (2, 10, latent_dim)
        assert vae.autoencoder.decode(vae.codes[-1]).shape == (10, *shape)


def test_labels_of_every_kind():
    images = some_images(12)
    assert train_vae(images, epochs=0).labels is None
    names = train_vae(images, ["cat", "ant", "bee"] * 4, epochs=0)
    assert names.classes == ("ant", "bee", "cat")
    expected = ["cat", "ant", "bee"] * 4
    assert [names.classes[i] for i in names.labels] == [expected[i] for i in names.train_index]
    single = train_vae(images, torch.full((12,), 7), epochs=0)
    assert single.classes == (7,)
    assert torch.equal(single.labels, torch.zeros(10, dtype=torch.int64))
    every = train_vae(torch.zeros(10_000, 1), np.arange(10_000), epochs=0)
    assert len(every.classes) == 10_000
    assert torch.equal(every.labels, every.train_index)


class Column:
    """A column of a table, as numpy sees it."""

    def __init__(self, values, dtype):
        self.values, self.dtype = values, dtype

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype or self.dtype)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array(["cat", "ant", "bee"] * 4, dtype=object), ("ant", "bee", "cat")),
        (np.array([np.str_("cat"), "ant", "bee"] * 4, dtype=object), ("ant", "bee", "cat")),
        (Column(["cat", "ant", "bee"] * 4, object), ("ant", "bee", "cat")),
        (np.array([3, np.int8(1), 2] * 4, dtype=object), (1, 2, 3)),
        (np.array([True, np.False_] * 6, dtype=object), (False, True)),
        *(
            [(np.array(["cat", "ant", "bee"] * 4, dtype=np.dtypes.StringDType()), ("ant", "bee", "cat"))]
            if hasattr(np, "dtypes") and hasattr(np.dtypes, "StringDType")
            else []
        ),
    ],
)
def test_labels_as_objects(labels, classes):
    vae = train_vae(some_images(12), labels, epochs=0)
    assert vae.classes == classes
    given = np.asarray(labels)
    assert [vae.classes[i] for i in vae.labels] == [given[i] for i in vae.train_index]
    assert {type(each) for each in vae.classes} <= {str, int, bool}


@pytest.mark.parametrize("beta", [np.float32(2), np.array(2), torch.tensor(2.0), torch.tensor(2, requires_grad=False)])
def test_beta_may_be_any_number(beta):
    vae = train_vae(some_images(), epochs=1, beta=beta)
    assert same(vae, train_vae(some_images(), epochs=1, beta=2.0))
    assert type(vae.beta) is float


def test_few_images():
    assert train_vae(some_images(2), epochs=1).codes.shape == (2, 1, 2)
    assert train_vae(some_images(1), epochs=1, held_out=some_images(1)).codes.shape == (2, 1, 2)
    assert torch.isfinite(train_vae(torch.zeros(5, 4), epochs=5).history.elbo).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": [[0.0, 1.0]]}, TypeError, r"images: expected a tensor or a numpy array, got list"),
        ({"images": np.array(["a"])}, TypeError, r"images: expected an array of numbers"),
        ({"images": torch.zeros(5)}, ValueError, r"images: expected the shape \(sample, \*shape\).*got \(5,\)"),
        ({"images": torch.zeros(0, 4)}, ValueError, r"images: .*\(0, 4\)"),
        ({"images": torch.zeros(5, 4, dtype=torch.uint8)}, ValueError, r"images: expected floats.*divide by 255"),
        ({"images": torch.zeros(5, 4, dtype=torch.complex64)}, ValueError, r"images: expected real numbers"),
        ({"images": torch.full((5, 4), torch.nan)}, ValueError, r"images: expected finite values.*20"),
        ({"images": torch.full((5, 4), 255.0)}, ValueError, r"images: expected values in \[0, 1\].*255"),
        ({"images": torch.full((5, 4), -0.5)}, ValueError, r"images: expected values in \[0, 1\]"),
        ({"images": torch.zeros(1, 4)}, ValueError, r"images: one image cannot be split.*held_out"),
        (
            {"images": torch.zeros(5, 4, device="meta")},
            ValueError,
            r"images: expected a dense tensor with values.*meta",
        ),
        ({"images": torch.eye(5).to_sparse()}, ValueError, r"images: expected a dense tensor with values.*sparse"),
        ({"labels": [[1], [2, 3]]}, TypeError, r"labels: expected integers or strings, got a ragged list"),
        ({"labels": "cat"}, ValueError, r"labels: expected one label for each of the 12 images, got shape \(\)"),
        ({"labels": [1, 2]}, ValueError, r"labels: expected one label for each of the 12 images, got shape \(2,\)"),
        ({"labels": np.zeros(12)}, TypeError, r"labels: expected integers or strings, got float64"),
        (
            {"labels": np.array(["a", 1, None] * 4, dtype=object)},
            TypeError,
            "labels: expected integers or strings, got objects of the types NoneType, int, str",
        ),
        ({"labels": np.array([0.5] * 12, dtype=object)}, TypeError, "labels: .*got objects of the types float"),
        ({"labels": torch.zeros(12, 10, dtype=torch.int64)}, ValueError, r"labels: .*\(12, 10\)"),
        ({"latent_dim": 0}, ValueError, r"latent_dim: expected an integer >= 1, got 0"),
        ({"latent_dim": 2.0}, TypeError, r"latent_dim: expected an integer, got 2.0"),
        ({"latent_dim": True}, TypeError, r"latent_dim: expected an integer, got True"),
        ({"beta": -1}, ValueError, r"beta: expected a finite number >= 0, got -1"),
        ({"beta": math.nan}, ValueError, r"beta: expected a finite number >= 0, got nan"),
        ({"beta": "1"}, TypeError, r"beta: expected a number, got '1'"),
        ({"beta": torch.ones(2)}, TypeError, r"beta: expected a number, got tensor"),
        ({"beta": torch.ones(1)}, TypeError, r"beta: expected a number, got tensor"),
        ({"beta": np.array(True)}, TypeError, r"beta: expected a number, got True"),
        ({"beta": torch.tensor(1j)}, TypeError, r"beta: expected a number, got 1j"),
        ({"epochs": -1}, ValueError, r"epochs: expected an integer >= 0, got -1"),
        ({"epochs": 1.5}, TypeError, r"epochs: expected an integer"),
        ({"seed": "a"}, TypeError, r"seed: expected an integer, got 'a'"),
        ({"kl_warm_up": -1}, ValueError, r"kl_warm_up: expected an integer >= 0"),
        ({"held_out": torch.zeros(3, 5)}, ValueError, r"held_out: expected images of shape \(3, 4\), got \(5,\)"),
        ({"held_out": torch.full((3, 3, 4), 2.0)}, ValueError, r"held_out: expected values in \[0, 1\]"),
        ({"held_out": 7}, TypeError, r"held_out: expected a tensor or a numpy array, got int"),
        ({"device": "nowhere"}, ValueError, r"device 'nowhere' cannot be used"),
        ({"device": "meta"}, ValueError, r"device: expected one that holds values, got 'meta'"),
        ({"device": 3.5}, TypeError, r"device must be"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"images": some_images(12), "epochs": 1, **change}
    with pytest.raises(error, match=message):
        train_vae(arguments.pop("images"), **arguments)
