"""The meter's numbers against a slow independent meter, and against closed forms."""

import math
from typing import Any

import gradient_flow_trainings as trainings
import numpy as np
import pytest
import torch
from gradient_flow_reference import Reference, reference_watch
from torch import nn

from dlwidgets.compute.gradient_flow import GradientFlow, activations, norms, statistics, watch

COMPARED = [
    "plain",
    "adam_with_everything",
    "in_place",
    "shared",
    "dropout_and_norms",
    "gan_both",
    "gan_discriminator_first",
    "two_backward_passes",
    "gradient_penalty",
    "gradient_inside_forward",
    "checkpointing",
    "autocast",
    "structured_outputs",
    "empty_batches",
    "frozen",
    "eval_passes",
    "replaced_modules",
    "sparse_gradients",
    "parametrized",
    "custom_functions",
    "parameter_as_output",
    "double_precision",
    "half_precision",
    "complex_numbers",
    "lazy_modules",
    "recursion",
    "tied_weights",
    "parts_by_themselves",
    "validation_without_eval",
    "data_parallel",
]

TABLES = {
    "mean": "activation_mean",
    "std": "activation_std",
    "zeros": "zero_fraction",
    "gradient": "gradient_norm",
    "parameter_gradient": "parameter_gradient_norm",
    "weight": "weight_norm",
    "ratio": "update_ratio",
}


def record(name: str) -> tuple[GradientFlow, Reference]:
    references: list[Reference] = []
    meters: list[Any] = []

    def watching(model: nn.Module, optimizer: Any) -> Any:
        meters.append(watch(model, optimizer, every=1))
        return meters[0]

    trainings.outcome(trainings.TRAININGS[name], reference_watch(references))
    trainings.outcome(trainings.TRAININGS[name], watching)
    assert meters[0].failure is None
    return meters[0].result(), references[0]


@pytest.mark.parametrize("name", COMPARED)
def test_tables_agree_with_the_slow_meter(name: str) -> None:
    g, reference = record(name)
    assert g.steps.tolist() == list(range(len(reference.rows)))
    precise = 1e-5 if name != "half_precision" else 2e-3
    for table, field in TABLES.items():
        found = getattr(g, field)
        assert found.dtype == torch.float64
        columns: list[Any] = (
            list(g.parameters)
            if field in ("parameter_gradient_norm", "weight_norm", "update_ratio")
            else [p[:2] for p in g.positions]
        )
        for step, row in enumerate(reference.rows):
            expected: dict[Any, list[float]] = {}
            for key in row[table]:
                assert key in columns, (field, step, key)
            for i, key in enumerate(columns):
                expected.setdefault(key, []).append(float(found[step, i]))
            for key, values in expected.items():
                values = [v for v in values if not np.isnan(v)]
                want = row[table].get(key)
                if want is None or np.isnan(want):
                    assert values == [], (field, step, key)
                else:
                    scale = row["std"].get(key, 0.0) if table == "mean" else 0.0
                    assert values == [pytest.approx(want, rel=precise, abs=1e-7 * scale + 1e-12)], (field, step, key)


@pytest.mark.parametrize(
    "name", ["in_place", "shared", "accumulation", "structured_outputs", "lbfgs", "half_precision"]
)
def test_numbers_that_wait_on_another_device_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator: everything is computed in float64 there and fetched once, at the end of the step."""
    results: list[GradientFlow] = []
    fetched: list[int] = []
    finish = statistics.Transfer.finish

    def counted(transfer: statistics.Transfer) -> None:
        fetched.append(1)
        finish(transfer)

    for elsewhere in (False, True):
        if elsewhere:
            for module in (statistics, norms, activations):
                monkeypatch.setattr(module, "on_host", lambda device: False, raising=False)
            monkeypatch.setattr(statistics.Transfer, "finish", counted)
        meters: list[Any] = []

        def watching(model: nn.Module, optimizer: Any, meters: list[Any] = meters) -> Any:
            meters.append(watch(model, optimizer, every=1))
            return meters[0]

        trainings.outcome(trainings.TRAININGS[name], watching)
        assert meters[0].failure is None
        results.append(meters[0].result())
    here, there = results
    assert here.positions == there.positions
    assert len(fetched) >= len(there.steps)
    for field in (*TABLES.values(), "saturated_fraction", "dead_fraction"):
        torch.testing.assert_close(getattr(here, field), getattr(there, field), rtol=2e-5, atol=1e-6, equal_nan=True)
    for a, b in zip(here.shared, there.shared, strict=True):
        torch.testing.assert_close(a.share, b.share, rtol=1e-5, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("rate", [0.1, 1e-20, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_large_weights_are_compared_a_piece_at_a_time(rate: float, dtype: torch.dtype) -> None:
    model = nn.Linear(700, 500).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    before = model.weight.detach().clone().double()
    with watch(model, optimizer, every=1) as flow:
        model(torch.randn(3, 700, dtype=dtype)).pow(2).sum().backward()
        optimizer.step()
    assert flow.failure is None
    g = flow.result()
    change = model.weight.detach().double() - before
    assert float(g.weight_norm[0, 0]) == pytest.approx(float(before.norm()), rel=3e-6)
    assert float(g.update_ratio[0, 0]) == pytest.approx(float(change.norm() / before.norm()), rel=1e-5)
    assert float(g.parameter_gradient_norm[0, 0]) == pytest.approx(float(model.weight.grad.double().norm()), rel=1e-5)
    if rate == 1e-20:
        lost = (change == 0) & (model.weight.grad != 0)
        share = float(lost.sum() / (model.weight.grad != 0).sum())
        assert float(g.lost_fraction[0, 0]) == pytest.approx(share, abs=1e-3)


def seen(*outputs: torch.Tensor) -> GradientFlow:
    """What the meter says of a leaf that puts out these tensors, one a step."""
    model = nn.Sequential(nn.Identity(), nn.Linear(1, 1, dtype=outputs[0].dtype))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with watch(model, optimizer, every=1) as flow:
        for x in outputs:
            model[0](x)
            (model[1].weight * 1.0).sum().backward()
            optimizer.step()
    assert flow.failure is None
    return flow.result()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1e9, (0.5, 1e-3)),
        (1e12, (-0.127, 0.0)),
        (1e8, (1e-8, 1e-10)),
        (-4e16, (3.0, 1.0)),
        (0.0, (1e9, 1.0)),
        (0.5, (0.0, 0.0)),
    ],
)
@pytest.mark.parametrize("rows", [37, 3000, 200_001])
def test_a_mean_that_jumps_leaves_nothing_behind(before: float, after: tuple[float, float], rows: int) -> None:
    torch.manual_seed(0)
    first = before * (1 + 1e-3 * torch.randn(rows, 1))
    second = after[0] + after[1] * torch.randn(rows, 1)
    g = seen(first, first, second, second)
    for step, x in enumerate((first, first, second, second)):
        exact = x.double()
        spread = float(exact.std(correction=0))
        assert float(g.activation_std[step, 0]) == pytest.approx(spread, rel=1e-4, abs=1e-30), step
        tolerance = 1e-3 * spread + 1e-7 * abs(float(exact.mean()))
        assert float(g.activation_mean[step, 0]) == pytest.approx(float(exact.mean()), rel=0, abs=tolerance), step


@pytest.mark.parametrize("size", [8191, 8193, 1_000_003])
def test_odd_sizes_lose_no_digits(size: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(1, size)
    assert float(seen(x).activation_std[0, 0]) == pytest.approx(float(x.double().std(correction=0)), rel=2e-6)


@pytest.mark.parametrize(("size", "value"), [(200, math.nan), (200, math.inf), (300, math.nan), (300, math.inf)])
def test_weights_that_are_no_numbers_are_not_hidden(size: int, value: float) -> None:
    layer = nn.Linear(size, size)
    with torch.no_grad():
        layer.weight[0, 0] = value
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    with watch(layer, optimizer, every=1) as flow:
        layer(torch.randn(2, size)).sum().backward()
        optimizer.step()
    found = float(flow.result().weight_norm[0, 0])
    assert math.isnan(found) if math.isnan(value) else found == value
    assert math.isnan(float(flow.result().update_ratio[0, 0]))


def test_an_explosion_in_double_precision_is_seen_to_its_end() -> None:
    x = torch.full((8, 4), 1e200, dtype=torch.float64)
    x[0, 0] = -1e200
    g = seen(x, x / 0)
    assert float(g.activation_mean[0, 0]) == pytest.approx(float(x.mean()), rel=1e-12)
    assert g.activation_std[0, 0] > 1e150
    assert g.nonfinite is not None


def test_outputs_that_cannot_be_read_are_left_alone() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> Any:
            return x * self.weight, torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])

    model = nn.Sequential(Odd())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, optimizer, every=1) as flow:
        model(torch.ones(2, 3))[0].sum().backward()
        optimizer.step()
        negative = torch._neg_view(torch.ones(20_000, 3))
        model(negative)[0].sum().backward()
        optimizer.step()
    assert flow.failure is None
    assert float(flow.result().gradient_norm[0, 0]) == pytest.approx(math.sqrt(6))


@pytest.mark.parametrize(
    "module", [nn.LeakyReLU(-0.005), nn.LeakyReLU(0.005), nn.LeakyReLU(0.5), nn.ELU(-0.5), nn.ELU(0.005), nn.ELU(2.0)]
)
def test_saturation_of_unusual_slopes_is_where_autograd_says(module: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 500), module, nn.Linear(500, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    data = 3 * torch.randn(20, 4)
    entered = model[0](data).detach().requires_grad_()
    slope = torch.autograd.grad(module(entered).sum(), entered)[0].abs()
    largest = max(1.0, abs(getattr(module, "alpha", 1.0)))
    with watch(model, optimizer, every=1) as flow:
        model(data).sum().backward()
        optimizer.step()
    assert float(flow.result().saturated_fraction[0, 1]) == pytest.approx(
        float((slope < 0.01 * largest).float().mean()), abs=1e-6
    )


def test_what_an_update_has_lost_is_not_told_of_elements_without_a_gradient():
    torch.manual_seed(0)
    for by_hand in (False, True):
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        with torch.no_grad():
            model[0].bias[2:] = -100.0
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        with watch(model, None if by_hand else optimizer, every=1) as flow:
            for _ in range(6):
                optimizer.zero_grad()
                model(torch.randn(16, 4)).pow(2).mean().backward()
                if by_hand:
                    with torch.no_grad():
                        for p in model.parameters():
                            p -= 0.01 * p.grad
                else:
                    optimizer.step()
        g = flow.result()
        lost = g.lost_fraction[:, g.parameters.index("0.weight")]
        assert not lost.nan_to_num(nan=0.0).any()
        assert not [v for v in g.verdicts if "lost_fraction" in v.evidence]


def test_of_a_sparse_gradient_only_its_rows_can_be_lost():
    torch.manual_seed(0)
    model = nn.EmbeddingBag(100, 3, sparse=True, mode="sum")
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with watch(model, optimizer, every=1) as flow:
        for rate in (0.01, 0.0000000001):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            model(torch.tensor([[1, 2, 2], [1, 5, 2]])).pow(2).sum().backward()
            optimizer.step()
    assert flow.result().lost_fraction[:, 0].tolist() == [0.0, 1.0]


def test_a_gradient_that_is_gone_piece_by_piece_says_nothing():
    model = nn.Linear(1 << 18, 2, bias=False)
    with torch.no_grad():
        model.weight[0] = 1e9
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    optimizer.register_step_post_hook(lambda optimizer, args, kwargs: model.weight.grad.zero_())
    with watch(model, optimizer, every=1) as flow:
        model(torch.ones(1, 1 << 18)).sum().backward()
        optimizer.step()
    assert flow.result().lost_fraction.isnan().all()


@pytest.mark.parametrize("since", [0, 2])
def test_gradients_that_are_batches_of_gradients_are_left_alone(since):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x = torch.randn(5, 3, requires_grad=True)
    with watch(model, optimizer, every=1) as flow:
        for step in range(4):
            optimizer.zero_grad()
            if step >= since:
                torch.autograd.functional.jacobian(model, x, vectorize=True)
            model(x).sum().backward()
            optimizer.step()
    assert flow.failure is None
    assert flow.result().steps.tolist() == [0, 1, 2, 3]


def test_gradients_that_are_inference_tensors_harm_nobody():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    with watch(model, every=1) as flow:
        for step in range(5):
            model.zero_grad()
            loss = model(x).sum()
            with torch.inference_mode(step >= 3):
                loss.backward()
    assert flow.failure is None


def test_a_conjugated_gradient_is_compared():
    model = nn.Linear(3, 2, bias=False, dtype=torch.complex64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, optimizer, every=1) as flow:
        model.weight.grad = torch.randn(2, 3, dtype=torch.complex64).conj()
        model.weight.grad[0] = 0
        model(torch.randn(4, 3, dtype=torch.complex64)).abs().sum().backward()
        model.weight.grad = model.weight.grad.conj()
        optimizer.step()
    assert flow.failure is None
    assert flow.result().lost_fraction.tolist() == [[0.0]]
