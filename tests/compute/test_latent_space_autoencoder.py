"""Calling a user's autoencoder: every form it may have, without a trace, and kindly when it misbehaves."""

import functools
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

from dlwidgets.compute.context import Cancelled
from dlwidgets.compute.latent_space import (
    Autoencoder,
    bind,
    class_coverage,
    decode,
    decode_grid,
    grid_codes,
    log_likelihood,
    posterior,
    prior_quantiles,
    reconstruct,
    train_vae,
)
from dlwidgets.compute.latent_space.scene import bind_apart


def linear(num_in, num_out, seed=0):
    layer = nn.Linear(num_in, num_out)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return layer


class Restless(nn.Module):
    """Everything that a module can change when it runs: statistics, buffers, three random states, its input."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(12)
        self.dropout = nn.Dropout(0.5)
        self.down, self.up = linear(12, 2), linear(2, 12)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("rebound", torch.zeros(1))
        self.norm.eval()  # a mode of its own inside a model that trains

    def encode(self, images):
        self.calls += 1
        self.rebound = self.rebound + 1
        images.mul_(2)
        noise = torch.randn(1) + float(np.random.rand()) + random.random()  # noqa: NPY002
        return self.down(self.dropout(self.norm(images.flatten(1)))) + 0 * noise, torch.zeros(len(images), 2)

    def decode(self, codes):
        self.calls += 1
        torch.rand(3)
        codes.add_(1)
        return self.up(codes).view(-1, 3, 4)


def fingerprint(model):
    state = [(name, value.clone()) for name, value in model.state_dict().items()]
    ids = [(name, id(value)) for name, value in (*model.named_parameters(), *model.named_buffers())]
    grads = [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()]
    rng = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    return [*state, *ids, *(grads), modes, hooks, *rng]


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def some_images(num_images=6):
    return torch.rand(num_images, 3, 4, generator=torch.Generator().manual_seed(0))


def every_form(encoder, decoder):
    """The same autoencoder in each form that is understood."""

    class Methods(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = encoder, decoder

        def encode(self, images):
            return self.first(images)

        def decode(self, codes):
            return self.second(codes)

    class Plain:
        encode = staticmethod(lambda images: encoder(images))
        decode = staticmethod(lambda codes: decoder(codes))

    module = Methods()
    return {
        "a pair of modules": (encoder, decoder),
        "a list of two": [encoder, decoder],
        "one module with methods": module,
        "a pair of functions": (lambda images: encoder(images), lambda codes: decoder(codes)),
        "a pair of bound methods": (module.encode, module.decode),
        "a pair of partials": (functools.partial(Methods.encode, module), functools.partial(Methods.decode, module)),
        "an object of any class": Plain(),
    }


def test_every_form_gives_the_same_and_is_run_in_eval_mode():
    encoder = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), linear(12, 2))
    decoder = nn.Sequential(linear(2, 12), nn.Dropout(0.9), nn.Unflatten(1, (3, 4)))
    images = some_images()
    mean = images.flatten(1) @ encoder[2].weight.T + encoder[2].bias
    pictures = (mean @ decoder[0].weight.T + decoder[0].bias).view(-1, 3, 4)
    for name, form in every_form(encoder, decoder).items():
        assert torch.allclose(posterior(form, images).mean, mean, atol=1e-6), name
        assert torch.allclose(decode(form, mean.detach()), pictures, atol=1e-5), name
        assert torch.allclose(reconstruct(form, images), pictures, atol=1e-5), name
        assert not posterior(form, images).mean.requires_grad, name
    assert encoder.training
    assert decoder.training


def test_the_protocol_knows_what_has_both_methods():
    assert isinstance(Restless(), Autoencoder)
    assert not isinstance(nn.Linear(1, 1), Autoencoder)


def test_deterministic_and_variational_encoders():
    images = some_images()
    plain = posterior((lambda x: x.flatten(1)[:, :2], nn.Identity()), images)
    assert not plain.stochastic
    assert torch.equal(plain.sd, torch.zeros(6, 2))
    assert torch.isinf(plain.kl).all()
    assert torch.equal(plain.sample(3), plain.mean.expand(3, 6, 2))
    as_list = posterior((lambda x: list(x.flatten(1)[:, :4].chunk(2, 1)), nn.Identity()), images)
    assert torch.equal(as_list.log_variance, images.flatten(1)[:, 2:4])
    variational = posterior((lambda x: (x.flatten(1)[:, :2], x.flatten(1)[:, 2:4]), nn.Identity()), images)
    assert variational.stochastic
    assert torch.equal(variational.log_variance, images.flatten(1)[:, 2:4])


@pytest.mark.parametrize("output", [(5,), (7, 3), (1, 4, 4), (3, 2, 2, 2)])
def test_any_shape_of_output(output):
    num_values = int(np.prod(output))
    decoder = nn.Sequential(linear(3, num_values), nn.Unflatten(1, output))
    assert decode((nn.Identity(), decoder), torch.zeros(4, 3)).shape == (4, *output)
    assert decode((nn.Identity(), decoder), [0.0, 1.0, 2.0]).shape == (1, *output)
    assert decode_grid((nn.Identity(), decoder), None, 2, 3, at=[0.0] * 3).shape == (2, 3, *output)


def test_a_decoder_with_a_log_variance_gives_its_mean():
    pair = (nn.Identity(), lambda z: (2 * z, torch.zeros_like(z)))
    assert torch.equal(decode(pair, torch.ones(3, 2)), torch.full((3, 2), 2.0))


def test_batches_do_not_change_the_result_and_are_small_for_large_pictures():
    sizes = []

    def decoder(codes):
        sizes.append(len(codes))
        return codes[:, :1, None].expand(-1, 512, 512)

    codes = torch.arange(60.0).view(30, 2)
    pictures = decode((nn.Identity(), decoder), codes)
    assert torch.equal(pictures[:, 0, 0], codes[:, 0])
    assert max(sizes[1:]) <= 4
    many = torch.rand(3000, 12)
    assert torch.equal(posterior((nn.Identity(), nn.Identity()), many).mean, many)


def test_out_of_memory_halves_the_batch():
    def decoder(codes):
        if len(codes) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return codes.clone()

    codes = torch.rand(20, 2)
    assert torch.equal(decode((nn.Identity(), decoder), codes), codes)
    assert torch.equal(posterior((decoder, nn.Identity()), codes).mean, codes)


@pytest.mark.parametrize(
    "form", [lambda m: m, lambda m: (m.encode, m.decode), lambda m: (lambda x: m.encode(x), m.decode)]
)
def test_the_users_model_comes_out_as_it_went_in(form):
    model = Restless().train()
    model.norm.eval()
    model.down.weight.grad = torch.ones_like(model.down.weight)
    model.up.register_forward_hook(lambda *_: None)
    images = some_images(40)
    kept = images.clone()
    before = fingerprint(model)
    autoencoder = form(model)
    posterior(autoencoder, images)
    decode(autoencoder, codes := torch.zeros(3, 2))
    reconstruct(autoencoder, images)
    decode_grid(autoencoder, None, 4, 4)
    log_likelihood(autoencoder, images, likelihood="gaussian", num_draws=3)
    class_coverage(autoencoder, images, torch.arange(40), num_samples=50)
    assert equal(before, fingerprint(model))
    assert torch.equal(images, kept)
    assert torch.equal(codes, torch.zeros(3, 2))


def test_the_users_model_comes_out_as_it_went_in_when_it_raises():
    model = Restless().train()
    before = fingerprint(model)
    with pytest.raises(ValueError, match="decode raised RuntimeError"):
        decode(model, torch.zeros(1, 5))
    with pytest.raises(ValueError, match="encode raised RuntimeError"):
        posterior(model, torch.zeros(2, 3))
    assert equal(before, fingerprint(model))


def test_a_graph_that_waits_for_its_backward_is_not_disturbed():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), linear(12, 2))
    loss = model(some_images()).square().sum()
    posterior((model, nn.Identity()), some_images())
    loss.backward()
    assert model[2].weight.grad is not None


def test_the_models_own_type_is_used():
    model = (nn.Sequential(nn.Flatten(), linear(12, 2)).double(), linear(2, 12).double())
    assert posterior(model, some_images()).mean.dtype == torch.float64
    assert decode(model, torch.zeros(1, 2)).dtype == torch.float64
    half = linear(2, 3).bfloat16()
    assert decode((nn.Identity(), half), torch.zeros(1, 2)).dtype == torch.float32
    assert decode((nn.Identity(), lambda z: z.double() * 2), torch.ones(1, 2).double()).dtype == torch.float64


def test_a_callers_autocast_changes_nothing():
    model = (nn.Sequential(nn.Flatten(), linear(12, 2)), linear(2, 12))
    mean, picture = posterior(model, some_images()).mean, decode(model, [0.3, 0.7])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(posterior(model, some_images()).mean, mean)
        assert torch.equal(decode(model, [0.3, 0.7]), picture)
        assert torch.is_autocast_enabled("cpu")


def test_integer_images_reach_an_encoder_as_they_are():
    table = nn.Embedding(10, 2)
    codes = posterior((lambda ids: table(ids).mean(1), nn.Identity()), torch.arange(8).view(2, 4))
    assert codes.mean.shape == (2, 2)


def test_binding_twice_is_binding_once():
    coder = bind((nn.Identity(), nn.Identity()))
    assert bind(coder) is coder


def test_codes_of_nan_stay_and_are_marked():
    encoder = lambda x: torch.where(x[:, :1] > 0.5, torch.nan, x[:, :2])  # noqa: E731
    images = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.2, 0.3]])
    codes = posterior((encoder, lambda z: z * 2), images)
    assert codes.valid.tolist() == [True, False]
    pictures = reconstruct((encoder, lambda z: z * 2), images)
    assert torch.equal(pictures[0], torch.tensor([0.2, 0.4]))
    assert pictures[1].isnan().all()


def test_a_decoder_that_raises_far_out_leaves_holes_in_the_grid():
    calls = []

    def fussy(codes):
        calls.append(len(codes))
        if (codes.abs() > 1.5).any():
            raise RuntimeError("too far")
        return codes.sum(1, keepdim=True)

    grid = decode_grid((nn.Identity(), fussy), ((-2, 2), (-2, 2)), 41, 41)[..., 0]
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    inside = (x.abs() <= 1.5)[:, None] & (x.abs() <= 1.5)[None]
    assert torch.equal(torch.isfinite(grid), inside)
    expected = x.flip(0)[:, None] + x[None]
    assert torch.allclose(grid[inside], expected[inside])
    with pytest.raises(ValueError, match=r"decode raised RuntimeError for codes \(1, 2\): too far") as caught:
        decode((nn.Identity(), fussy), [0.0, 40.0])
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(ValueError, match="too far"):
        decode_grid((nn.Identity(), fussy), ((5, 6), (5, 6)), 3, 3)


def test_decoding_can_be_stopped():
    class Stop:
        def report(self, fraction, text):
            pass

        def cancelled(self):
            return True

    with pytest.raises(Cancelled):
        decode((nn.Identity(), nn.Identity()), torch.zeros(2, 2), context=Stop())


def test_one_image_of_a_trained_autoencoder():
    vae = train_vae(some_images(), epochs=1)
    assert posterior(vae.autoencoder, some_images(1)).mean.shape == (1, 2)
    assert reconstruct(vae.autoencoder, some_images(1)).shape == (1, 3, 4)


IDENTITY = nn.Identity()


@pytest.mark.parametrize(
    ("autoencoder", "error", "message"),
    [
        (None, TypeError, "autoencoder: expected an object with the methods encode and decode.*got NoneType"),
        (nn.Linear(2, 2), TypeError, "autoencoder: expected an object with the methods.*got Linear"),
        (Restless, TypeError, "autoencoder: got the class Restless; give an instance"),
        ((IDENTITY,), TypeError, r"autoencoder: expected a pair \(encoder, decoder\), got 1 things"),
        ((IDENTITY, 3), TypeError, "autoencoder: expected an object"),
        ((nn.Linear, nn.Linear), TypeError, "autoencoder: expected an object"),
        ((lambda x: x[:1], IDENTITY), ValueError, r"encode: expected one result for each of the 3 inputs.*\(1, 2\)"),
        ((lambda x: x[:, 0], IDENTITY), ValueError, r"encode: expected codes \(batch, latent\) for images.*got \(3,\)"),
        ((lambda x: x[:, None], IDENTITY), ValueError, r"encode: expected codes.*got \(3, 1, 2\)"),
        ((lambda x: (x, x, x), IDENTITY), ValueError, r"encode: expected a tensor or a tuple \(mean, log_variance\)"),
        ((lambda x: {"z": x}, IDENTITY), ValueError, r"encode: expected a tensor or a tuple.*got \(dict\)"),
        ((lambda _: (), IDENTITY), ValueError, r"encode: expected a tensor or a tuple"),
        ((lambda x: (x, x[:, :1]), IDENTITY), ValueError, r"encode: mean \(3, 2\) and log-variance \(3, 1\)"),
        ((lambda _: 1 / 0, IDENTITY), ValueError, "encode raised ZeroDivisionError for images"),
        (
            (IDENTITY, lambda z: z.sum()),
            ValueError,
            r"decode: expected one result for each of the 3 inputs, got shape \(\)",
        ),
        ((IDENTITY, nn.Linear(5, 2)), ValueError, r"decode raised RuntimeError for codes \(3, 2\)"),
        ((IDENTITY, lambda _: None), ValueError, r"decode: expected a tensor.*got \(NoneType\)"),
    ],
)
def test_what_is_no_autoencoder_is_named(autoencoder, error, message):
    with pytest.raises(error, match=message):
        reconstruct(autoencoder, torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (torch.tensor([[0.0, torch.nan]]), ValueError, r"codes: expected finite codes, got \[0.0, nan\] at 0"),
        (torch.zeros(0, 2), ValueError, r"codes: expected the shape.*got \(0, 2\)"),
        (
            torch.zeros(2, 2, 2),
            ValueError,
            r"codes: expected the shape \(code, latent\) or \(latent,\), got \(2, 2, 2\)",
        ),
        ("abc", TypeError, "codes: expected a tensor or a numpy array, got str"),
        ([[1.0], [1.0, 2.0]], TypeError, "codes: expected numbers"),
    ],
)
def test_bad_codes_are_named(codes, error, message):
    with pytest.raises(error, match=message):
        decode((IDENTITY, IDENTITY), codes)


def test_results_that_change_their_shape_are_named():
    decoder = lambda z: torch.zeros(len(z), 3 if len(z) == 16 else 4)  # noqa: E731
    with pytest.raises(ValueError, match=r"decode: expected results of one kind and shape in every call"):
        decode((IDENTITY, decoder), torch.zeros(20, 2))


@pytest.mark.parametrize("own", [torch.float32, torch.float64])
def test_plain_functions_get_the_type_that_they_were_written_in(own):
    down, up = torch.randn(64, 2, dtype=own), torch.randn(2, 64, dtype=own)
    pair = (lambda images: images.flatten(1) @ down, lambda codes: torch.sigmoid(codes @ up).reshape(-1, 8, 8))
    images = torch.rand(6, 8, 8)
    for given in (images, images.double()):
        assert torch.equal(posterior(pair, given).mean, given.to(own).flatten(1) @ down)
        assert reconstruct(pair, given).shape == (6, 8, 8)
    assert torch.equal(decode(pair, [0.5, -1.0])[0], pair[1](torch.tensor([[0.5, -1.0]], dtype=own))[0])
    assert decode_grid(pair, ((-1, 1), (-1, 1)), 3, 3).shape == (3, 3, 8, 8)
    assert class_coverage(pair, images, [0, 1] * 3, num_samples=20).num_failed == 0
    with pytest.raises(ValueError, match=r"decode raised RuntimeError for codes .1, 3.*shapes cannot be multiplied"):
        decode(pair, [0.5, -1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: grid_codes(dims=3), TypeError, r"dims: expected two dimensions such as \(0, 1\), got 3"),
        (lambda: grid_codes(dims=(0, 1, 2)), TypeError, "dims: expected two dimensions"),
        (lambda: prior_quantiles("a"), TypeError, "num_points: expected an integer, got 'a'"),
        (lambda: prior_quantiles(0), ValueError, "num_points: expected an integer >= 1"),
        (
            lambda: train_vae(torch.rand(20, 2, 2), epochs=1, context=3),
            TypeError,
            "context: expected None or an object",
        ),
        (
            lambda: decode_grid(train_vae(torch.rand(20, 2, 2), epochs=1).autoencoder, at=[0.0, 0.0, 0.0]),
            ValueError,
            "the autoencoder has 2 latent dimensions, these 3",
        ),
    ],
)
def test_bad_grids_and_contexts_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_a_cell_draws_while_the_autoencoder_runs_stays():
    def cell():
        torch.manual_seed(123)
        np.random.seed(123)  # noqa: NPY002
        random.seed(123)

    def meanwhile(x):
        thread = threading.Thread(target=cell)
        thread.start()
        thread.join()
        return x.clone()

    cell()
    wanted = fingerprint(IDENTITY)
    torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    posterior((meanwhile, IDENTITY), torch.zeros(3, 2))
    assert equal(wanted, fingerprint(IDENTITY))
    torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    decode((IDENTITY, meanwhile), torch.zeros(3, 2))
    assert equal(wanted, fingerprint(IDENTITY))


@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m.eval(), torch.rand(3, 12)).train()])
@pytest.mark.parametrize("binding", [bind, bind_apart])
@pytest.mark.parametrize("inside", [False, True])
def test_torchscript(make, binding, inside):
    inner = nn.Sequential(nn.BatchNorm1d(12), nn.Dropout(0.5), linear(12, 2))
    images = some_images(12).flatten(1)
    with torch.no_grad():
        mean = inner.eval()(images)
    encoder = make(inner.train())
    encoder.train()
    before = [value.clone() for value in encoder.state_dict().values()]
    for _ in range(2):
        coder = binding((nn.Sequential(encoder) if inside else encoder, IDENTITY))
        assert torch.allclose(posterior(coder, images).mean, mean, atol=1e-6)
    assert all(part.training for part in encoder.modules())
    assert equal(before, list(encoder.state_dict().values()))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls = self.calls + 1
        return x * self.calls


def test_torchscript_that_replaces_its_buffer():
    module = torch.jit.script(Counting())
    for _ in range(2):
        assert torch.equal(posterior((module, nn.Identity()), torch.ones(3, 2)).mean, torch.ones(3, 2))
    assert module.calls.tolist() == [0.0]


@pytest.mark.parametrize("types", [(torch.float64, torch.float32), (torch.float32, torch.float64)])
def test_means_and_log_variances_may_be_of_two_types(types):
    def encode(images):
        mean = images.flatten(1)[:, :2]
        return mean.to(types[0]), torch.full_like(mean, -2, dtype=types[1])

    mean, log_variance = bind((encode, nn.Identity())).encode(torch.rand(5, 2, 2))
    assert (mean.dtype, log_variance.dtype) == (types[0], types[0])
    assert torch.equal(log_variance, torch.full((5, 2), -2, dtype=types[0]))
