"""Modules hidden behind what a user calls: all are run in eval mode and left alone, and copied to run apart."""

import functools
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dlwidgets.compute.latent_space import bind, decode, posterior
from dlwidgets.compute.latent_space.behind import modules_behind
from dlwidgets.compute.latent_space.scene import bind_apart


class Encoder(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 2))
        self[1].running_mean.fill_(0.5)


class Decoder(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(2, 16), nn.BatchNorm1d(16))


class Both(nn.Module):
    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images):
        return self.encoder(images)

    def decode(self, codes):
        return self.decoder(codes)


class Plain:
    """Not a module; where its networks are is said by two functions of it."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def encode(self, images):
        return self.find_encoder(self)(images)

    def decode(self, codes):
        return self.find_decoder(self)(codes)


def keyword_only(encoder, decoder):
    def encode(images, *, net=encoder):
        return net(images)

    def decode(codes, *, net=decoder):
        return net(codes)

    return encode, decode


def decorated(encoder, decoder):
    return torch.no_grad()(lambda images: encoder(images)), torch.no_grad()(lambda codes: decoder(codes))


def one_calls_another(encoder, decoder):
    def network(name):
        return {"encoder": encoder, "decoder": decoder}[name]

    def decode(codes):
        return torch.stack([network("decoder")(each[None])[0] for each in codes])

    return lambda images: network("encoder")(images), decode


def in_globals(encoder, decoder):
    cell = {"nets": {"encoder": encoder, "decoder": decoder}}
    exec("encode = lambda images: nets['encoder'](images)\ndef decode(codes): return nets['decoder'](codes)", cell)
    return cell["encode"], cell["decode"]


def with_itself(encoder, decoder):
    plain = Plain(nets=[encoder, decoder], find_encoder=lambda me: me.me.nets[0], find_decoder=lambda me: me.me.nets[1])
    plain.me = plain
    return plain


FORMS = {
    "modules": lambda e, d: (e, d),
    "a module": Both,
    "bound methods": lambda e, d: (Both(e, d).encode, Both(e, d).decode),
    "closures": lambda e, d: (lambda x: e(x), lambda z: d(z)),
    "defaults": lambda e, d: (lambda x, net=e: net(x), lambda z, net=d: net(z)),
    "keyword-only defaults": keyword_only,
    "a dict": lambda e, d: (lambda nets: (lambda x: nets["e"](x), lambda z: nets["d"](z)))({"e": e, "d": d}),
    "a list": lambda e, d: (lambda nets: (lambda x: nets[0](x), lambda z: nets[1](z)))([e, d]),
    "a tuple": lambda e, d: (lambda nets: (lambda x: nets[0](x), lambda z: nets[1](z)))((e, d)),
    "globals": in_globals,
    "partials": lambda e, d: (functools.partial(Both.encode, Both(e, d)), functools.partial(Both.decode, Both(e, d))),
    "partials of dicts": lambda e, d: (
        functools.partial(lambda nets, x: nets["e"](x), {"e": e}),
        functools.partial(lambda z, nets: nets["d"](z), nets={"d": d}),
    ),
    "decorated functions": decorated,
    "functions of functions": one_calls_another,
    "attributes": lambda e, d: Plain(e=e, d=d, find_encoder=lambda me: me.e, find_decoder=lambda me: me.d),
    "lists in attributes": lambda e, d: Plain(
        n=[e, d], find_encoder=lambda me: me.n[0], find_decoder=lambda me: me.n[1]
    ),
    "nested objects": lambda e, d: Plain(
        h=SimpleNamespace(e=e, d={"d": d}), find_encoder=lambda me: me.h.e, find_decoder=lambda me: me.h.d["d"]
    ),
    "an object that knows itself": with_itself,
}


def some_images():
    return torch.rand(12, 4, 4, generator=torch.Generator().manual_seed(0))


def state(*models):
    return [(value.clone(), value.data_ptr()) for model in models for value in model.state_dict().values()]


def same(a, b):
    return all(torch.equal(x, y) and i == j for (x, i), (y, j) in zip(a, b, strict=True))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("binding", [bind, bind_apart])
def test_hidden_modules_run_in_eval_mode_and_stay_as_they_are(name, binding):
    encoder, decoder = Encoder(), Decoder()
    images = some_images()
    with torch.no_grad():
        mean = encoder.eval()(images)
        pictures = decoder.eval()(mean)
    encoder.train(), decoder.train()
    before = state(encoder, decoder)
    coder = binding(FORMS[name](encoder, decoder))
    assert torch.allclose(posterior(coder, images).mean, mean, atol=1e-6)
    assert torch.allclose(decode(coder, mean), pictures, atol=1e-6)
    assert all(part.training for part in (*encoder.modules(), *decoder.modules()))
    assert same(before, state(encoder, decoder))


@pytest.mark.parametrize("name", FORMS)
def test_what_is_bound_apart_has_modules_of_its_own_around_the_same_weights(name):
    encoder, decoder = Encoder(), Decoder()
    coder = bind_apart(FORMS[name](encoder, decoder))
    live = {*encoder.modules(), *decoder.modules()}
    copied = {part for module in (*coder.encode_modules, *coder.decode_modules) for part in module.modules()}
    assert copied
    assert not live & copied
    mean = posterior(coder, some_images()).mean
    with torch.no_grad():
        encoder[3].weight.mul_(2)
        encoder[3].bias.mul_(2)
    assert torch.allclose(posterior(coder, some_images()).mean, 2 * mean, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_a_training_beside_it_keeps_its_mode_and_its_statistics(name):
    """While the coder is inside the user's function, the user's modules are in train mode and learn statistics."""
    encoder, decoder = Encoder(), Decoder()
    seen = []

    class Watching(nn.Module):
        def forward(self, x):
            thread = threading.Thread(target=lambda: seen.append(train()))
            thread.start()
            thread.join()
            return x

    def train():
        assert encoder[1].training
        encoder[1](encoder[0](some_images()))
        return int(encoder[1].num_batches_tracked)

    encoder.append(Watching())
    coder = bind_apart(FORMS[name](encoder, decoder))
    posterior(coder, some_images())
    assert seen
    assert seen == list(range(1, len(seen) + 1))
    assert int(encoder[1].num_batches_tracked) == len(seen)


def test_a_module_behind_both_calls_has_one_copy():
    encoder, decoder = Encoder(), Decoder()
    both = Both(encoder, decoder)
    for pair in ((both.encode, both.decode), (lambda x: both.encode(x), lambda z: both.decode(z)), both):
        coder = bind_apart(pair)
        assert coder.encode_modules == coder.decode_modules
        assert len(coder.encode_modules) == 1
    tied = bind_apart((encoder, lambda z: nn.functional.linear(z, encoder[3].weight.T)))
    assert tied.encode_modules == tied.decode_modules


def test_other_globals_stay_live():
    cell = {"net": Encoder(), "scale": 1.0, "count": 0}
    exec("def encode(x):\n    global count\n    count += 1\n    return net(x) * scale", cell)
    coder = bind_apart((cell["encode"], nn.Identity()))
    once = posterior(coder, some_images()).mean
    cell["scale"] = 3.0
    assert torch.allclose(posterior(coder, some_images()).mean, 3 * once)
    cell["later"] = lambda: None
    assert cell["encode"].__globals__ is cell


def test_variables_shared_by_functions_stay_shared():
    net, calls = Encoder(), 0

    def encode(x):
        nonlocal calls
        calls += 1
        return net(x)

    coder = bind_apart((encode, nn.Identity()))
    posterior(coder, some_images())
    assert calls == 1


def test_an_object_with_a_finalizer_is_not_copied():
    closed = []

    class File:
        def __init__(self, net):
            self.net = net

        def __del__(self):
            closed.append(1)

        def encode(self, images):
            return self.net(images)

    file = File(Encoder())
    coder = bind_apart((file.encode, nn.Identity()))
    assert coder.encode_modules == (file.net,)
    del coder
    assert not closed


def test_an_object_that_cannot_be_copied_still_works():
    class Stubborn:
        def __init__(self, net):
            self.net = net

        def __copy__(self):
            raise RuntimeError("no")

        def encode(self, images):
            return self.net(images)

    coder = bind_apart((Stubborn(Encoder()).encode, nn.Identity()))
    assert posterior(coder, some_images()).mean.shape == (12, 2)


def test_finding_ends():
    endless = []
    endless.append(endless)
    assert modules_behind(endless) == ()
    net = Encoder()
    assert modules_behind(list(range(100_000)), [net, list(range(100_000))]) == (net,)
    assert modules_behind([object() for _ in range(20_000)], [net]) == ()
    assert modules_behind(torch.nn.functional.relu, print, 3, None) == ()


def test_a_function_that_refers_to_itself_or_to_nothing_yet():
    net = Encoder()

    def encode(images, deep=True):
        return encode(images, False) if deep else net(images)

    def early(images):
        return net(images) if True else undefined

    def unset(images):
        return late(images)

    for function in (encode, early):
        assert posterior(bind_apart((function, nn.Identity())), some_images()).mean.shape == (12, 2)
    coder = bind_apart((unset, nn.Identity()))
    late = net
    assert posterior(coder, some_images()).mean.shape == (12, 2)
