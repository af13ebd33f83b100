"""What the receptive field engine says to bad input, and that the model survives it unchanged."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from receptive_field_oracle import photograph
from receptive_field_zoo import Fn
from torch import Tensor, nn

from dlwidgets.compute.context import Cancelled
from dlwidgets.compute.receptive_field import effective_receptive_field, trace

SHAPE = (1, 1, 8, 9)


def network() -> nn.Sequential:
    """Three layers, in train mode, with statistics that a careless run would change."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, 2))


def refuse(call: Callable[[], Any], kind: type[Exception], *words: str) -> Exception:
    """Check that ``call`` fails with exactly this kind of error, in one sentence that holds all of ``words``."""
    with pytest.raises(kind) as caught:
        call()
    assert caught.type is kind
    message = str(caught.value)
    for word in words:
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", message), f"{word!r} is not in {message!r}"
    if caught.value.__cause__ is None:
        assert "\n" not in message
        assert len(message) < 400
    return caught.value


# trace


@pytest.mark.parametrize("model", [None, "resnet18", 3, nn.Conv2d, lambda x: x, [nn.ReLU()]])
def test_model_must_be_a_module(model: Any) -> None:
    refuse(lambda: trace(model, SHAPE), TypeError, "model")


@pytest.mark.parametrize(
    "example",
    [
        None,
        "1,1,8,9",
        7,
        2.5,
        [1, 1, 8, 9],
        {"x": torch.zeros(SHAPE)},
        np.zeros(SHAPE, np.float32),
        (1.0, 1, 8, 9),
        (1, 1, "8", 9),
        (True, True, True, True),
        {1, 8, 9},
    ],
    ids=str,
)
def test_example_of_the_wrong_kind(example: Any) -> None:
    refuse(lambda: trace(network(), example), TypeError, "example")


@pytest.mark.parametrize(
    "example",
    [
        (),
        torch.Size([]),
        torch.zeros(()),
        torch.zeros(0, 1, 8, 9),
        torch.zeros(1, 1, 0, 9),
        (1, 1, 0, 9),
        (1, 1, -8, 9),
        (torch.zeros(()),),
        (torch.zeros(1, 1, 8, 0),),
    ],
    ids=repr,
)
def test_example_without_positions(example: Any) -> None:
    refuse(lambda: trace(network(), example), ValueError, "example")


@pytest.mark.parametrize(
    "example",
    [
        (1, 3, 8, 9),
        (1, 1, 2, 2),
        (8, 9),
        (1, 1, 8, 9, 3, 3),
        torch.zeros(SHAPE, dtype=torch.int64),
        torch.zeros(SHAPE, dtype=torch.complex64),
        torch.zeros(SHAPE, dtype=torch.float64),
        torch.zeros(SHAPE, dtype=torch.bool),
        (torch.zeros(SHAPE), torch.zeros(SHAPE)),
        (torch.zeros(SHAPE), "second"),
    ],
    ids=lambda example: str(getattr(example, "dtype", example))[:40],
)
def test_model_that_cannot_run_on_the_example_chains_its_own_error(example: Any) -> None:
    model = network()
    before = photograph(model)
    error = refuse(lambda: trace(model, example), ValueError)
    assert error.__cause__ is not None
    assert re.search(r"\bmodel\b", str(error))
    assert re.search(r"\bexample\b", str(error))
    assert photograph(model) == before


class Trouble(Exception):
    """An error of the model's own."""


def test_own_error_is_chained_and_the_statistics_are_as_before() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        m.norm(x)
        torch.rand(1)
        np.random.rand()  # noqa: NPY002
        raise Trouble("no luck today")

    model = Fn(forward, norm=nn.BatchNorm2d(1))
    example = torch.randn(SHAPE)
    before = photograph(model, [example])
    error = refuse(lambda: trace(model, example), ValueError, "model")
    assert isinstance(error.__cause__, Trouble)
    assert "no luck today" in str(error)
    assert photograph(model, [example]) == before


def test_interrupt_is_not_swallowed() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        raise KeyboardInterrupt

    model = Fn(forward, conv=nn.Conv2d(1, 1, 1))
    before = photograph(model)
    with pytest.raises(KeyboardInterrupt):
        trace(model, SHAPE)
    assert photograph(model) == before


@pytest.mark.parametrize("output", [None, 3, 2.5, "text", (), [], {}, (None, "a"), {"a": [1, 2]}], ids=repr)
def test_model_that_returns_no_tensor(output: Any) -> None:
    model = Fn(lambda m, x: m.conv(x) is None or output, conv=nn.Conv2d(1, 1, 3))
    before = photograph(model)
    refuse(lambda: trace(model, SHAPE), ValueError, "model")
    assert photograph(model) == before


def test_model_that_returns_an_empty_tensor() -> None:
    model = Fn(lambda m, x: m.conv(x)[:, :, :0], conv=nn.Conv2d(1, 1, 3))
    net = trace(model, SHAPE)
    assert net.size_map().shape == (0, 7, 2)
    refuse(lambda: net.field((0, 0)), ValueError, "unit")


@pytest.mark.parametrize("axes", ["23", 2.5, (2, 3.0), (2, "x"), (True, 3), {2: 3}, ((2,), 3)], ids=repr)
def test_axes_of_the_wrong_kind(axes: Any) -> None:
    refuse(lambda: trace(network(), SHAPE, axes=axes), TypeError, "axes")


@pytest.mark.parametrize("axes", [(2, 2), (2, -2), (3, 4), (-5, 2), (99,)], ids=repr)
def test_axes_twice_or_out_of_range(axes: Any) -> None:
    refuse(lambda: trace(network(), SHAPE, axes=axes), ValueError, "axes")


# Queries


@pytest.fixture(scope="module")
def net() -> Any:
    return trace(network(), SHAPE)


QUERIES = ["field", "projection"]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    "position", [None, 1, "00", (0.0, 1), (0, 1.5), (0, "1"), (True, 0), {0, 1}, torch.zeros(2), (None, 0)], ids=repr
)
def test_position_of_the_wrong_kind(net: Any, query: str, position: Any) -> None:
    name = {"field": "unit", "projection": "pixel"}[query]
    refuse(lambda: getattr(net, query)(position), TypeError, name)


@pytest.mark.parametrize("position", [(0,), (), (0, 0, 0), (2, 0), (0, 3), (-3, 0), (0, -4), (10**30, 0)], ids=repr)
def test_unit_out_of_range(net: Any, position: Any) -> None:
    assert net.size_map().shape == (2, 3, 2)
    refuse(lambda: net.field(position), ValueError, "unit")


@pytest.mark.parametrize("position", [(0,), (), (0, 0, 0), (8, 0), (0, 9), (-9, 0), (0, -10)], ids=repr)
def test_pixel_out_of_range(net: Any, position: Any) -> None:
    refuse(lambda: net.projection(position), ValueError, "pixel")


@pytest.mark.parametrize("query", [*QUERIES, "size_map"])
@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (1.0, TypeError),
        (True, TypeError),
        (b"0", TypeError),
        (["0", 0], TypeError),
        (("0", 0.0), TypeError),
        (("0", "0"), TypeError),
        ((0, 0), TypeError),
        (("0", 0, 0), TypeError),
        ("no such layer", ValueError),
        ("3", ValueError),
        (99, ValueError),
        (-99, ValueError),
        (("0", 1), ValueError),
        (("0", -5), ValueError),
        (("x", 0), ValueError),
    ],
    ids=repr,
)
def test_layer_that_is_not_there(net: Any, query: str, layer: Any, kind: type[Exception]) -> None:
    position = [] if query == "size_map" else [(0, 0)]
    refuse(lambda: getattr(net, query)(*position, layer=layer), kind, "layer")


def test_unknown_layer_is_told_the_known_ones(net: Any) -> None:
    with pytest.raises(ValueError, match=r"conv9.*'?0'?.*'?1'?.*'?2'?"):
        net.field((0, 0), layer="conv9")


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    ("channel", "kind"),
    [(1.0, TypeError), ("0", TypeError), (True, TypeError), ((0,), TypeError), (3, ValueError), (-4, ValueError)],
    ids=repr,
)
def test_channel_that_is_not_there(net: Any, query: str, channel: Any, kind: type[Exception]) -> None:
    refuse(lambda: getattr(net, query)((0, 0), channel=channel), kind, "channel")


def test_channel_of_an_output_without_channels() -> None:
    net = trace(Fn(lambda m, x: x.mean((1, 2, 3))), SHAPE)
    refuse(lambda: net.field((), channel=0), ValueError, "channel")


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(
    ("output_axes", "kind"),
    [
        ("23", TypeError),
        (2, TypeError),
        ((2, 3.0), TypeError),
        ((2, True), TypeError),
        ((2, 2), ValueError),
        ((2, -2), ValueError),
        ((2, 4), ValueError),
        ((2, -5), ValueError),
    ],
    ids=repr,
)
def test_output_axes_that_are_not_there(net: Any, query: str, output_axes: Any, kind: type[Exception]) -> None:
    refuse(lambda: getattr(net, query)((0, 0), output_axes=output_axes), kind, "output_axes")


def test_negative_positions_and_numpy_integers_are_fine(net: Any) -> None:
    last = net.field((1, 2), channel=2)
    for unit, channel in [((-1, -1), -1), ((np.int64(1), np.int32(-1)), np.int64(2)), (torch.Size([1, 2]), 2)]:
        assert torch.equal(net.field(unit, channel=channel).mask, last.mask)
    assert torch.equal(net.projection((-1, -1)).mask, net.projection((7, 8)).mask)
    for layer in (-1, len(net.layers) - 1, "2", ("2", 0)):
        assert torch.equal(net.field((1, 2), layer=layer).mask, net.field((1, 2)).mask)


# Odd numbers and names


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e38, 0.0])
def test_values_of_the_example_do_not_matter(value: float) -> None:
    model = network()
    example = torch.full(SHAPE, value)
    before = photograph(model, [example])
    found = trace(model, example).field((0, 0))
    assert (found.box, found.status) == (((0, 8), (0, 9)), "exact")
    model.eval()
    found = trace(model, example).field((0, 0))
    assert (found.box, found.status) == (((0, 5), (0, 5)), "exact")
    model.train()
    assert photograph(model, [example]) == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_other_numbers_of_example_and_model(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv1d(1, 1, 3), nn.Conv1d(1, 1, 2, 2)).to(dtype)
    found = trace(model, torch.zeros(1, 1, 8, dtype=dtype)).field((1,))
    assert found.mask.nonzero().flatten().tolist() == [2, 3, 4, 5]
    assert found.status == "exact"


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "\u202egnpexe", "nul\0inside", "two\nlines", "a" * 100, "%s{0}\\", "层"]
)
def test_odd_layer_names(name: str) -> None:
    model = nn.Sequential()
    model.add_module(name, nn.Conv1d(1, 1, 3))
    model.add_module("last", nn.Conv1d(1, 1, 2))
    net = trace(model, (1, 1, 7))
    assert name in [layer.name for layer in net.layers]
    assert net.field((0,), layer=name).count == 3
    refuse(lambda: net.field((99,), layer=name), ValueError, "unit")
    refuse(lambda: net.field((0,), layer=name + "!"), ValueError, "layer")


def test_example_that_wants_a_gradient_keeps_none() -> None:
    example = torch.randn(1, 1, 6, requires_grad=True)
    model = nn.Conv1d(1, 1, 3)
    loss = model(example).sum()
    before = photograph(model, [example])
    trace(model, example).field((0,))
    assert photograph(model, [example]) == before
    loss.backward()
    assert example.grad is not None


def test_a_pending_backward_survives() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ReLU(inplace=True))
    loss = model(torch.randn(2, 1, 6)).sum()
    net = trace(model, torch.randn(2, 1, 6))
    net.field((0,))
    effective_receptive_field(model, torch.randn(2, 1, 6), (1,))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_tracing_works_under_no_grad_inference_and_other_defaults() -> None:
    model = network().eval()
    expected = trace(model, SHAPE).field((1, 1)).mask
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            assert torch.equal(trace(model, SHAPE).field((1, 1)).mask, expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(trace(model, torch.zeros(SHAPE, dtype=torch.float32)).field((1, 1)).mask, expected)
        assert torch.equal(trace(model, SHAPE).field((1, 1)).mask, expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_hooks_of_the_user_stay_and_run_as_always() -> None:
    calls: list[str] = []
    model = network()
    model[0].register_forward_hook(lambda *_: calls.append("after"))
    model[2].register_forward_pre_hook(lambda *_: calls.append("before"))
    before = photograph(model)
    trace(model, SHAPE).field((0, 0))
    assert photograph(model) == before
    calls.clear()
    model(torch.zeros(2, 1, 8, 9))
    assert calls == ["after", "before"]


# The effective field


@pytest.mark.parametrize(
    ("arguments", "kind", "word"),
    [
        ({"model": "net"}, TypeError, "model"),
        ({"inputs": None}, TypeError, "inputs"),
        ({"inputs": "photo.png"}, TypeError, "inputs"),
        ({"inputs": torch.zeros(())}, ValueError, "inputs"),
        ({"inputs": torch.zeros(0, 1, 8, 9)}, ValueError, "inputs"),
        ({"inputs": torch.full(SHAPE, float("nan"))}, ValueError, "inputs"),
        ({"inputs": torch.zeros(1, 3, 8, 9)}, ValueError, "inputs"),
        ({"unit": None}, TypeError, "unit"),
        ({"unit": (0.5, 0)}, TypeError, "unit"),
        ({"unit": (True, 0)}, TypeError, "unit"),
        ({"unit": (0,)}, ValueError, "unit"),
        ({"unit": (9, 0)}, ValueError, "unit"),
        ({"layer": "no such layer"}, ValueError, "layer"),
        ({"layer": 1.5}, TypeError, "layer"),
        ({"layer": ("0", 7)}, ValueError, "layer"),
        ({"channel": 3}, ValueError, "channel"),
        ({"channel": 0.5}, TypeError, "channel"),
        ({"axes": (2, 2)}, ValueError, "axes"),
        ({"axes": (2, 9)}, ValueError, "axes"),
        ({"axes": "hw"}, TypeError, "axes"),
    ],
    ids=str,
)
def test_effective_field_refuses(arguments: dict[str, Any], kind: type[Exception], word: str) -> None:
    model = network()
    before = photograph(model)
    given = {"model": model, "inputs": torch.ones(SHAPE), "unit": (0, 0), **arguments}
    refuse(lambda: effective_receptive_field(**given), kind, word)
    assert photograph(model) == before


@pytest.mark.parametrize(
    "function",
    [lambda m, x: x.detach(), lambda m, x: x.sign(), lambda m, x: x > 0],
    ids=["detach", "sign", "comparison"],
)
def test_effective_field_without_a_gradient(function: Any) -> None:
    model = Fn(function)
    try:
        found = effective_receptive_field(model, torch.ones(SHAPE), (0, 0))
    except ValueError as error:
        assert "gradient" in str(error)  # noqa: PT017
    else:
        assert found.contribution.sum() == 0


class Impatient:
    """A context that cancels after some reports."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.fractions: list[float] = []

    def report(self, fraction: float, text: str) -> None:
        assert text
        self.fractions.append(fraction)

    def cancelled(self) -> bool:
        return len(self.fractions) >= self.patience


@pytest.mark.parametrize("patience", [0, 1])
def test_effective_field_stops_when_told(patience: int) -> None:
    model, inputs = network(), torch.randn(64, 1, 8, 9)
    before = photograph(model, [inputs])
    with pytest.raises(Cancelled):
        effective_receptive_field(model, inputs, (0, 0), context=Impatient(patience))
    assert photograph(model, [inputs]) == before


def test_effective_field_leaves_no_trace() -> None:
    model = network()
    inputs = torch.randn(3, 1, 8, 9)
    before = photograph(model, [inputs])
    context = Impatient(10**6)
    found = effective_receptive_field(model, inputs, (0, -1), context=context)
    assert photograph(model, [inputs]) == before
    assert context.fractions == sorted(context.fractions)
    assert found.contribution.dtype == torch.float64
    assert float(found.contribution.sum()) == pytest.approx(1, abs=1e-12)
    assert found.num_inputs == 3
