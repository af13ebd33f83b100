"""The receptive field engine against an oracle that finds fields by trying, on a zoo of small architectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from receptive_field_examination import Examination, units_of
from receptive_field_oracle import Case, Oracle, first_tensor, randn_inputs
from receptive_field_zoo import Fn
from receptive_field_zoo_blocks import BLOCKS
from receptive_field_zoo_convolutions import CONVOLUTIONS
from receptive_field_zoo_hostile import HOSTILE
from receptive_field_zoo_interfaces import INTERFACES
from receptive_field_zoo_layout import LAYOUT
from receptive_field_zoo_sequences import SEQUENCES
from receptive_field_zoo_values import VALUES
from torch import Tensor, nn

from dlwidgets.compute.receptive_field import trace

ZOO = [*CONVOLUTIONS, *LAYOUT, *SEQUENCES, *VALUES, *INTERFACES, *HOSTILE, *BLOCKS]


@pytest.mark.parametrize("case", ZOO, ids=lambda case: case.name)
def test_engine_agrees_with_the_oracle(case: Case) -> None:
    examination = Examination(case)
    assert not examination.faults, "\n".join(examination.faults)
    if case.decidable:
        assert examination.statuses["bound"] == 0, f"bound where the structure is known: {examination.reasons}"


def leaf_calls(case: Case) -> list[tuple[str, int]]:
    """The calls of modules without children that return a tensor, in execution order, heard by hooks."""
    model = case.model()
    calls: list[tuple[str, int]] = []

    def listener(name: str) -> Any:
        def hear(module: nn.Module, arguments: Any, output: Any) -> None:
            if first_tensor(output) is not None:
                calls.append((name, sum(known == name for known, _ in calls)))

        return hear

    for name, module in model.named_modules():
        if name and not list(module.children()):
            module.register_forward_hook(listener(name))
    with torch.no_grad():
        model(*case.arguments())
    return calls


@pytest.mark.parametrize("case", [case for case in ZOO if case.name != "scripted"][::7], ids=lambda case: case.name)
def test_layers_are_the_calls_in_execution_order(case: Case) -> None:
    arguments = case.arguments()
    layers = trace(case.model(), arguments[0] if len(arguments) == 1 else arguments, axes=case.axes).layers
    listed = [(layer.name, layer.call) for layer in layers]
    assert len(set(listed)) == len(listed)
    calls = leaf_calls(case)
    assert [call for call in listed if call in calls] == calls


# The oracle itself, against fields derived by hand


def draw(case: Case, times: int = 8) -> Oracle:
    """An oracle after some draws."""
    oracle = Oracle(case)
    for _ in range(times):
        oracle.perturb()
    return oracle


def positions(mask: Tensor) -> list[int]:
    """Where a mask over one axis is True."""
    return mask.nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("build", "length", "unit", "expected"),
    [
        (lambda: nn.Conv1d(1, 1, 3, 2, 2, 2), 9, 2, [2, 4, 6]),
        (lambda: nn.Conv1d(1, 1, 3, 2, 2, 2), 9, 0, [0, 2]),
        (lambda: nn.MaxPool1d(3, 2, ceil_mode=True), 8, 3, [6, 7]),
        (lambda: nn.Sequential(nn.Conv1d(1, 1, 3), nn.ReLU(), nn.Conv1d(1, 1, 3, 2)), 11, 1, [2, 3, 4, 5, 6]),
        (lambda: nn.ConvTranspose1d(1, 1, 3, 2), 4, 2, [0, 1]),
        (lambda: nn.ConvTranspose1d(1, 1, 3, 2), 4, 3, [1]),
        (lambda: nn.ReflectionPad1d(2), 5, 0, [2]),
        (lambda: nn.Upsample(scale_factor=2, mode="linear"), 4, 2, [0, 1]),
        (lambda: nn.AdaptiveAvgPool1d(3), 7, 1, [2, 3, 4]),
        (lambda: Fn(lambda m, x: x.cumsum(2)), 6, 3, [0, 1, 2, 3]),
        (lambda: Fn(lambda m, x: x.sign().detach().roll(1, 2)), 6, 0, [5]),
        (lambda: Fn(lambda m, x: x * torch.tensor([1.0, 0, 1])), 3, 1, []),
        (lambda: Fn(lambda m, x: m.c(x) - m.c(x), c=nn.Conv1d(1, 1, 2)), 5, 1, [1, 2]),
        (lambda: Fn(lambda m, x: nn.functional.conv1d(x, m.k), k=torch.tensor([[[1.0, 0, -1]]])), 6, 2, [2, 4]),
        (lambda: Fn(lambda m, x: x.argmax(2, keepdim=True)), 5, 0, [0, 1, 2, 3, 4]),
        (lambda: Fn(lambda m, x: x.sort(2)[0]), 4, 1, [0, 1, 2, 3]),
    ],
)
def test_oracle_finds_what_a_person_derives(build: Any, length: int, unit: int, expected: list[int]) -> None:
    oracle = draw(Case("by hand", build, randn_inputs((1, 1, length))), 20)
    assert positions(oracle.field(None, (unit,))) == expected
    backwards = (
        [u for u in range(oracle.unit_sizes(None)[0]) if positions(oracle.field(None, (u,))).count(expected[0])]
        if expected
        else []
    )
    assert backwards == (positions(oracle.projection(None, (expected[0],))) if expected else [])


def test_oracle_keeps_channels_apart() -> None:
    oracle = draw(
        Case(
            "pair",
            lambda: Fn(lambda m, x: torch.cat([x, m.c(x)], 1), c=nn.Conv1d(1, 1, 3, padding=1)),
            randn_inputs((1, 1, 5)),
        )
    )
    assert positions(oracle.field(None, (2,), channel=0)) == [2]
    assert positions(oracle.field(None, (2,), channel=1)) == [1, 2, 3]
    assert positions(oracle.field(None, (2,))) == [1, 2, 3]
    assert positions(oracle.field(("c", 0), (2,))) == [1, 2, 3]


@pytest.mark.parametrize("case", [case for case in ZOO if case.differentiable][::4], ids=lambda case: case.name)
def test_gradients_and_nan_frame_the_oracle(case: Case) -> None:
    oracle = draw(case, 2)
    for unit in units_of(oracle.unit_sizes(None, case.output_axes), 2)[:3]:
        gradient = oracle.differentiate(unit)
        while oracle.num_draws < 20 and (gradient & ~oracle.field(None, unit, None, case.output_axes)).any():
            oracle.perturb()
        assert not (gradient & ~oracle.field(None, unit, None, case.output_axes)).any()
    if case.spreads_nan and case.arguments()[0].is_floating_point():
        oracle.poison()
        for target, relation in oracle.reached.items():
            assert not (relation & ~oracle.poisoned[target]).any(), target
