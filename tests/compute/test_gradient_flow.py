"""What the meter promises: steps, positions, shares, verdicts, budget, and kind refusals."""

import copy
import gc
import itertools
import math
import pickle
import threading
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from test_gradient_flow_interference import global_hooks
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dlwidgets.compute import observe
from dlwidgets.compute.gradient_flow import GradientFlow, Meter, Position, Thresholds, Verdict, watch
from dlwidgets.compute.gradient_flow.rhythm import ALWAYS, WINDOW, Rhythm


def run(
    model: nn.Module, steps: int = 1, size: tuple[int, ...] = (16, 6), rate: float = 0.1, **options: Any
) -> GradientFlow:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], rate)
    with watch(model, optimizer, **({"every": 1} | options)) as flow:
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(size)).pow(2).mean().backward()
            optimizer.step()
    assert flow.failure is None
    return flow.result()


def kinds(g: GradientFlow) -> set[str]:
    return {verdict.kind for verdict in g.verdicts}


def verdict(g: GradientFlow, kind: str) -> Verdict:
    (found,) = [v for v in g.verdicts if v.kind == kind]
    return found


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def net(*sizes: int, act: Any = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class TestSteps:
    def test_steps_zero_one_three_up_to_sixtythree_are_always_sampled(self) -> None:
        g = run(net(6, 4, 1), steps=64, every=None, budget=1e-9)
        assert g.steps.tolist() == sorted(ALWAYS) == [0, 1, 3, 7, 15, 31, 63]
        assert g.steps.dtype == torch.int64

    def test_every_third_step(self) -> None:
        assert run(net(6, 4, 1), steps=8, every=3).steps.tolist() == [0, 3, 6]
        assert run(net(6, 4, 1), steps=8, every=np.int64(3), budget=np.float32(0.5)).steps.tolist() == [0, 3, 6]

    def test_the_first_of_several_optimizers_ends_the_step(self) -> None:
        model = net(6, 4, 1)
        first, second = torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.SGD(model[2].parameters(), 0.1)
        with watch(model, [first, second], every=1) as flow:
            for i in range(6):
                model(torch.randn(2, 6)).sum().backward()
                second.step()
                if i % 2:
                    first.step()
        assert flow.result().steps.tolist() == [0, 1, 2]

    def test_an_optimizer_is_found_by_what_it_steps_and_strangers_are_not(self) -> None:
        model, other = net(6, 4, 1), nn.Linear(1, 1)
        ours, theirs = torch.optim.SGD(model.parameters(), 0.1), torch.optim.SGD(other.parameters(), 0.1)
        with watch(model, every=1) as flow:
            for _ in range(4):
                ours.zero_grad()
                other(model(torch.randn(2, 6))).sum().backward()
                theirs.step()
                ours.step()
                theirs.step()
        g = flow.result()
        assert g.steps.tolist() == [0, 1, 2, 3]
        assert (g.update_ratio[:, g.parameters.index("2.weight")] > 0).all()

    def test_a_second_optimizer_takes_over_when_the_first_one_stops(self) -> None:
        model = net(6, 4, 1)
        with watch(model, every=1) as flow:
            for _ in range(2):
                optimizer = torch.optim.SGD(model.parameters(), 0.1)
                for _ in range(5):
                    model(torch.randn(2, 6)).sum().backward()
                    optimizer.step()
        # the step in which the second one was seen first was not yet known to be one
        assert len(flow.result().steps) in (9, 10)

    @pytest.mark.parametrize("every", [1, 2, 5])
    @pytest.mark.parametrize("update", ["data", "no_grad", "none"])
    def test_without_an_optimizer_the_next_training_forward_after_a_backward_ends_the_step(
        self, every: int, update: str
    ) -> None:
        model = net(6, 4, 1)
        with watch(model, every=every) as flow:
            for _ in range(11):
                model.eval()
                model(torch.randn(2, 6))
                model.train()
                model(torch.randn(2, 6))  # no backward: the same step
                model(torch.randn(2, 6)).sum().backward()
                for p in model.parameters():
                    assert p.grad is not None
                    if update == "data":
                        p.data.add_(p.grad, alpha=-0.1)
                    elif update == "no_grad":
                        with torch.no_grad():
                            p.sub_(p.grad)
                model.zero_grad()
        g = flow.result()
        assert flow.num_steps == 11
        assert g.steps.tolist() == list(range(0, 11, every))
        assert not g.gradient_norm.isnan().any()
        assert not g.parameter_gradient_norm.isnan().any()
        assert (g.update_ratio > 0).all() if update != "none" else (g.update_ratio == 0).all()

    def test_accumulation_with_an_optimizer_to_be_found_makes_one_step(self) -> None:
        torch.manual_seed(1)
        model = net(6, 4, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        batches = torch.randn(4, 3, 2, 6)
        results = []
        for given in (None, optimizer):
            twin = copy.deepcopy(model)
            optimizer = torch.optim.SGD(twin.parameters(), 0.1)
            with watch(twin, optimizer if given else None, every=1) as flow:
                for step in batches:
                    optimizer.zero_grad()
                    for x in step:
                        twin(x).pow(2).sum().backward()
                    optimizer.step()
            results.append(flow.result())
        found, known = results
        assert found.steps.tolist() == known.steps.tolist() == [0, 1, 2, 3]
        for name in ("activation_mean", "activation_std", "gradient_norm", "parameter_gradient_norm", "update_ratio"):
            torch.testing.assert_close(getattr(found, name), getattr(known, name), rtol=1e-12, atol=1e-15)

    def test_result_inside_the_block_and_from_another_thread(self) -> None:
        model = net(6, 4, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        seen: list[int] = []
        problems: list[BaseException] = []
        stop = threading.Event()

        def poll() -> None:
            try:
                revision = -1
                while not stop.is_set():
                    if flow.revision != revision:
                        revision = flow.revision
                        seen.append(len(flow.result().steps))
            except BaseException as error:
                problems.append(error)

        with watch(model, optimizer, every=1) as flow:
            thread = threading.Thread(target=poll)
            thread.start()
            for i in range(60):
                optimizer.zero_grad()
                model(torch.randn(2, 6)).sum().backward()
                optimizer.step()
                assert len(flow.result().steps) == i + 1
            stop.set()
            thread.join()
        assert problems == []
        assert seen == sorted(seen)

    def test_lbfgs_counts_the_last_closure(self) -> None:
        model = net(6, 4, 1)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
        x = torch.randn(8, 6)
        kept: list[Tensor] = []
        gradients: list[Tensor] = []

        def closure() -> Tensor:
            optimizer.zero_grad()
            out = model(x)
            out.retain_grad()
            kept.append(out)
            loss = out.pow(2).sum()
            loss.backward()
            gradients.append(model[2].weight.grad.clone())
            return loss

        with watch(model, optimizer, every=1) as flow:
            optimizer.step(closure)
        g = flow.result()
        assert len(kept) > 2
        last = [i for i, p in enumerate(g.positions) if p.module == "2"]
        assert [g.positions[i].call for i in last] == [0]
        assert float(g.gradient_norm[0, last[0]]) == pytest.approx(float(kept[-1].grad.norm()), rel=1e-6)
        assert float(g.activation_mean[0, last[0]]) == pytest.approx(float(kept[-1].mean()), rel=1e-5)
        column = g.parameters.index("2.weight")
        assert float(g.parameter_gradient_norm[0, column]) == pytest.approx(float(gradients[-1].norm()), rel=1e-6)

    def test_a_loss_is_noted_with_its_step_before_or_after_the_optimizer(self) -> None:
        for after in (False, True):
            model = net(6, 4, 1)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            with watch(model, optimizer, every=2) as flow:
                for i in range(5):
                    optimizer.zero_grad()
                    loss = model(torch.randn(2, 6)).sum()
                    loss.backward()
                    if not after:
                        flow.log(loss=loss)
                    optimizer.step()
                    if after:
                        flow.log(loss=float(i))
            g = flow.result()
            assert g.loss_steps.tolist() == [0, 1, 2, 3, 4]
            assert g.loss.dtype == torch.float64


class TestPositions:
    def test_a_module_called_24_times_has_24_positions(self) -> None:
        g = run(nn.Sequential(nn.Linear(6, 8), *[nn.Linear(8, 8), nn.Sigmoid()] * 24, nn.Linear(8, 1)))
        linear = [p for p in g.positions if p.module == "1"]
        assert linear == [Position("1", call, "Linear") for call in range(24)]
        assert len([p for p in g.positions if p.module == "2" and p.kind == "Sigmoid"]) == 24

    def test_leaves_and_modules_with_parameters_of_their_own(self) -> None:
        class Outer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale, self.body = nn.Parameter(torch.ones(())), nn.Sequential(nn.Linear(6, 3), nn.ReLU())

            def forward(self, x: Tensor) -> Tensor:
                return self.body(x) * self.scale

        g = run(Outer())
        assert [tuple(p) for p in g.positions] == [("body.0", 0, "Linear"), ("body.1", 0, "ReLU"), ("", 0, "Outer")]
        assert g.parameters == ("scale", "body.0.weight", "body.0.bias")

    @pytest.mark.parametrize("reentrant", [True, False])
    def test_checkpointing_adds_no_calls_and_changes_no_number(self, reentrant: bool) -> None:
        class Net(nn.Module):
            def __init__(self, use: bool) -> None:
                super().__init__()
                self.first, self.block, self.last = (
                    nn.Linear(6, 6),
                    nn.Sequential(nn.Linear(6, 6), nn.Tanh()),
                    nn.Linear(6, 1),
                )
                self.use = use

            def forward(self, x: Tensor) -> Tensor:
                x = self.first(x)
                for _ in range(4):
                    x = checkpoint(self.block, x, use_reentrant=reentrant) if self.use else self.block(x)
                return self.last(x)

        results = []
        for use in (True, False):
            torch.manual_seed(3)
            results.append(run(Net(use), steps=3))
        with_it, without = results
        assert set(with_it.positions) == set(without.positions)
        order = [without.positions.index(p) for p in with_it.positions]
        for name in ("activation_mean", "activation_std", "gradient_norm"):
            found, expected = getattr(with_it, name), getattr(without, name)[:, order]
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-12)
        assert len(with_it.shared) == len(without.shared) == 2
        for a, b in zip(with_it.shared, without.shared, strict=True):
            calls_a = [with_it.positions[i] for i in a.positions]
            calls_b = [without.positions[i] for i in b.positions]
            assert sorted(calls_a) == sorted(calls_b)
            rearranged = b.share[:, [calls_b.index(p) for p in calls_a]]
            torch.testing.assert_close(a.share, rearranged, rtol=1e-5, atol=1e-12)

    def test_eval_passes_leave_no_trace_in_the_numbers(self) -> None:
        model = net(6, 4, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        x = torch.randn(8, 6)
        with watch(model, optimizer, every=1) as flow:
            model.eval()
            model(100 * torch.randn(8, 6)).sum().backward()
            model.train()
            optimizer.zero_grad()
            out = model(x)
            out.sum().backward()
            model.eval()
            model(100 * torch.randn(8, 6))
            optimizer.step()
        g = flow.result()
        assert len(g.positions) == 3
        assert float(g.activation_mean[0, 2]) == pytest.approx(float(out.mean()), rel=1e-5)
        assert float(g.gradient_norm[0, 2]) == pytest.approx(math.sqrt(8))

    def test_vmap_functional_call_and_compiled_models_have_positions(self) -> None:
        model = net(6, 4, 1)
        with watch(model, every=1) as flow:
            torch.func.functional_call(model, dict(model.named_parameters()), (torch.randn(3, 6),)).sum().backward()
        assert len(flow.result().positions) == 3
        assert not flow.result().gradient_norm.isnan().any()
        compiled = torch.compile(model, backend="eager")
        with watch(model, torch.optim.SGD(model.parameters(), 0.1), every=1) as flow:
            compiled(torch.randn(3, 6)).sum().backward()
            torch.optim.SGD(model.parameters(), 0.1)
        assert flow.failure is None


class TestShares:
    def test_shares_against_one_weight_per_call(self) -> None:
        """The same network with as many independent copies of the layer: each copy's gradient is that call's part."""
        shared = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), *[nn.Linear(5, 5), nn.Tanh()] * 4, nn.Linear(5, 1)).double()
        unrolled = nn.Sequential(*[copy.deepcopy(m) for m in shared])
        x = torch.randn(7, 6, dtype=torch.float64)
        unrolled(x).pow(2).mean().backward()
        parts = [unrolled[2 + 2 * i] for i in range(4)]
        with watch(shared, every=1) as flow:
            shared(x).pow(2).mean().backward()
        g = flow.result()
        assert [s.parameter for s in g.shared] == ["2.weight", "2.bias"]
        for found, name in zip(g.shared, ("weight", "bias"), strict=True):
            assert [g.positions[i] for i in found.positions] == [Position("2", call, "Linear") for call in range(4)]
            norms = torch.stack([getattr(part, name).grad.norm() for part in parts])
            torch.testing.assert_close(found.gradient_norm[0], norms, rtol=1e-10, atol=0)
            torch.testing.assert_close(found.share[0], norms**2 / (norms**2).sum(), rtol=1e-10, atol=0)

    @pytest.mark.parametrize("case", ["recurrent", "tied", "autocast", "twice inside", "two forwards", "normalised"])
    def test_shares_of_other_kinds_of_sharing(self, case: str) -> None:
        x = torch.randn(7, 6)
        steps = 1
        model: nn.Module
        if case == "recurrent":

            class Loop(nn.Module):
                def __init__(self) -> None:
                    super().__init__()
                    self.cell = nn.GRUCell(6, 6)

                def forward(self, x: Tensor) -> Tensor:
                    h = torch.zeros_like(x)
                    for _ in range(3):
                        h = self.cell(x, h)
                    return h

            model = Loop()
        elif case == "tied":
            model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
            model[2].weight = model[0].weight
        elif case == "twice inside":

            class Twice(nn.Module):
                def __init__(self) -> None:
                    super().__init__()
                    self.w = nn.Parameter(torch.randn(6, 6))

                def forward(self, x: Tensor) -> Tensor:
                    return torch.tanh(torch.tanh(x @ self.w) @ self.w)

            model = nn.Sequential(*[Twice()] * 2)
        elif case == "normalised":
            layer = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
            model = nn.Sequential(layer, nn.Tanh(), layer)
        else:
            layer = nn.Linear(6, 6)
            model = nn.Sequential(layer, nn.Tanh(), layer)
            steps = 2 if case == "two forwards" else 1
        unrolled = Unrolled(model, case == "autocast")
        expected = unrolled.parts(x, steps)
        with watch(model, every=1) as flow:
            for _ in range(steps):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=case == "autocast"):
                    out = model(x)
                out.float().pow(2).mean().backward()
            if steps == 2:
                for p in model.parameters():
                    p.data.mul_(0.5)
                model(x)
        g = flow.result()
        assert flow.failure is None
        found = {s.parameter: s for s in g.shared}
        assert found
        checked = 0
        for name, parts in expected.items():
            if name in found and case != "normalised":
                norms = found[name].gradient_norm[0]
                wanted = torch.stack([part.norm() for part in parts]).double()
                assert len(norms) == len(wanted)
                torch.testing.assert_close(norms, wanted, rtol=3e-2 if case == "autocast" else 1e-5, atol=0)
                checked += 1
        assert checked or case == "normalised"
        for s in found.values():
            assert float(s.share[0].nansum()) == pytest.approx(1.0)


class Unrolled:
    """Per call gradients by hand: in each call every parameter is replaced by a fresh copy of it."""

    def __init__(self, model: nn.Module, autocast: bool) -> None:
        self.model, self.autocast = model, autocast

    def parts(self, x: Tensor, repeats: int) -> dict[str, list[Tensor]]:
        """For each parameter name its gradient contributions, by call in order."""
        copies: dict[str, list[Tensor]] = {}
        names = {id(p): n for n, p in self.model.named_parameters()}
        handles = []
        originals: list[tuple[nn.Module, dict[str, Any]]] = []

        def swap(module: nn.Module, args: Any) -> None:
            originals.append((module, dict(module._parameters)))
            for key, p in list(module._parameters.items()):
                if p is not None:
                    twin = p.detach().clone().requires_grad_()
                    copies.setdefault(names[id(p)], []).append(twin)
                    del module._parameters[key]
                    module.__dict__[key] = twin

        def restore(module: nn.Module, args: Any, out: Any) -> None:
            _, saved = originals.pop()
            for key, p in saved.items():
                module.__dict__.pop(key, None)
                module._parameters[key] = p

        for module in self.model.modules():
            if any(p is not None for p in module._parameters.values()):
                handles += [module.register_forward_pre_hook(swap), module.register_forward_hook(restore)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            out = self.model(x)
        out.float().pow(2).mean().backward()
        for handle in handles:
            handle.remove()
        return {name: [t.grad for t in twins if t.grad is not None] for name, twins in copies.items() if repeats}


class TestSafeNumbers:
    @pytest.mark.parametrize("scale", [1e-22, 1e-30, 1e-36, 1e20, 1e30])
    def test_norms_that_float32_would_lose(self, scale: float) -> None:
        model = net(6, 8, 3)
        kept: dict[str, Tensor] = {}
        with watch(model, every=1) as flow:
            out = model(torch.randn(16, 6))
            out.register_hook(lambda g: kept.update(gradient=g.clone()))
            (out * scale).sum().backward()
        g = flow.result()
        true = np.linalg.norm(kept["gradient"].double().numpy())
        assert float(g.gradient_norm[0, 2]) == pytest.approx(true, rel=1e-6)
        for i, name in enumerate(g.parameters):
            exact = np.linalg.norm(model.get_parameter(name).grad.double().numpy())
            assert float(g.parameter_gradient_norm[0, i]) == pytest.approx(exact, rel=1e-6)

    def test_repeated_steps_with_wildly_changing_scales(self) -> None:
        model = net(6, 8, 1)
        scales = [1.0, 1e-25, 1e25, 0.0, 1e-33, 1e30, 1.0]
        true = []
        with watch(model, every=1) as flow:
            for scale in scales:
                model.zero_grad()
                (model(torch.ones(2, 6)) * scale).sum().backward()
                true.append([np.linalg.norm(p.grad.double().numpy()) for p in model.parameters()])
        np.testing.assert_allclose(flow.result().parameter_gradient_norm.numpy(), np.array(true), rtol=1e-6)

    def test_tiny_weights_and_activations(self) -> None:
        model = nn.Sequential(nn.Linear(6, 40, bias=False), nn.Linear(40, 3000, bias=False))
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1e-25)
        x = torch.randn(16, 6)
        weights = [p.detach().double() for p in model.parameters()]
        with watch(model, every=1) as flow:
            model(x).sum().backward()
        g = flow.result()
        np.testing.assert_allclose(g.weight_norm[0].numpy(), [float(w.norm()) for w in weights], rtol=1e-6)
        hidden = model[0](x).detach().double()
        assert float(g.activation_std[0, 0]) == pytest.approx(float(hidden.std(unbiased=False)), rel=1e-5)

    def test_large_outputs_are_read_in_slabs(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
        model[0].bias.data[2] = -1000.0
        x = torch.randn(9, 3, 70, 70)
        with watch(model, every=1) as flow:
            model(x).mean().backward()
        g = flow.result()
        out = model[1](model[0](x)).detach().double()
        assert float(g.activation_mean[0, 1]) == pytest.approx(float(out.mean()), rel=1e-6)
        assert float(g.activation_std[0, 1]) == pytest.approx(float(out.std(unbiased=False)), rel=3e-6)
        assert float(g.zero_fraction[0, 1]) == float((out == 0).double().mean())
        assert torch.nonzero(g.dead_units[1]).flatten().tolist() == [2]

    def test_channels_last(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).to(memory_format=torch.channels_last)
        model[0].bias.data[5] = -1000.0
        x = torch.randn(9, 3, 70, 70).to(memory_format=torch.channels_last)
        with watch(model, every=1) as flow:
            model(x).mean().backward()
        g = flow.result()
        out = model(x).detach().double()
        assert float(g.activation_mean[0, 1]) == pytest.approx(float(out.mean()), rel=1e-6)
        assert torch.nonzero(g.dead_units[1]).flatten().tolist() == [5]


class TestSaturation:
    ACTIVATIONS = (
        nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardtanh(-0.5, 2.0), nn.Hardsigmoid(),
        nn.LeakyReLU(), nn.LeakyReLU(0.001), nn.ELU(0.5), nn.ELU(2.0, inplace=True), nn.SELU(), nn.CELU(2.0),
        nn.Softplus(2.0), nn.LogSigmoid(), nn.Softsign(), nn.Tanhshrink(), nn.Softshrink(), nn.Hardshrink(),
        nn.Threshold(0.3, 7.0), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.SiLU(inplace=True), nn.Mish(),
        nn.Mish(inplace=True), nn.Hardswish(inplace=True),
    )  # fmt: skip

    @pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
    def test_fraction_against_the_derivative_by_autograd(self, activation: nn.Module) -> None:
        grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(activation(grid.clone()).sum(), grid)
        largest = float(slope.abs().max())
        x = (5 * torch.randn(64, 40, dtype=torch.float64)).requires_grad_()
        (slope,) = torch.autograd.grad(activation(x.clone()).sum(), x)
        expected = float((slope.abs() < 0.01 * largest).double().mean())
        model = nn.Sequential(nn.Identity(), activation)
        with watch(model, every=1) as flow:
            model(x * 1.0).sum().backward()
        assert float(flow.result().saturated_fraction[0, 1]) == pytest.approx(expected, abs=1.5 / x.numel())

    def test_modules_without_a_derivative_of_their_own_have_none(self) -> None:
        g = run(nn.Sequential(nn.Linear(6, 4), nn.Softmax(-1), nn.Dropout(), nn.BatchNorm1d(4)))
        assert g.saturated_fraction.isnan().all()


class TestVerdicts:
    def test_a_healthy_network_has_none(self) -> None:
        model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
        assert run(model, steps=10, size=(64, 6)).verdicts == ()

    def test_the_trap_of_the_shared_layer(self) -> None:
        model = nn.Sequential(
            nn.Linear(42, 128), nn.Sigmoid(), *[nn.Linear(128, 128), nn.Sigmoid()] * 24, nn.Linear(128, 1)
        )
        g = run(model, steps=2, size=(64, 42), rate=0.01)
        v = verdict(g, "shared module")
        assert "24 positions, one weight" in v.sentence
        share = f"{v.evidence['largest_share']:.1%} of the sum of squares over the calls"
        assert f"nearly all of its gradient ({share}) comes from the last call" in v.sentence
        assert v.sentence.endswith(f" Median of the last {len(g.steps)} sampled steps.")
        assert v.evidence["last_share"] > 0.9
        assert v.evidence["first_gradient_norm"] < 1e-18
        assert v.evidence["parameter_gradient_norm"] > 1e-2
        assert v.parameters == ("2.weight", "2.bias")
        assert len(v.positions) == 24
        vanishing = verdict(g, "vanishing")
        assert vanishing.evidence["ratio"] < 1e-15
        assert vanishing.sentence.endswith(f" Median of the last {len(g.steps)} sampled steps.")
        assert vanishing.positions[0] == Position("0", 0, "Linear")

    def test_exploding(self) -> None:
        model = net(6, *[32] * 12, 1, act=nn.Identity)
        for p in model.parameters():
            p.data.mul_(8)
        g = run(model, rate=1e-30)
        v = verdict(g, "exploding")
        assert v.evidence["ratio"] > g.thresholds.exploding
        assert v.evidence["factor_per_position"] > 1
        assert "vanishing" not in kinds(g)

    def test_exploding_in_time_and_then_not_finite(self) -> None:
        model = nn.Sequential(nn.Linear(6, 32), nn.Linear(32, 1))
        optimizer = torch.optim.SGD(model.parameters(), 100.0)
        with watch(model, optimizer, every=1) as flow:
            for _ in range(40):
                optimizer.zero_grad()
                loss = model(torch.ones(4, 6)).pow(2).mean()
                loss.backward()
                optimizer.step()
                flow.log(loss=loss)
        g = flow.result()
        assert {"exploding", "non-finite"} <= kinds(g)
        assert g.nonfinite is not None
        first = int(np.flatnonzero(~np.isfinite(g.loss.numpy()))[0])
        v = verdict(g, "non-finite")
        assert v.step == g.nonfinite[0] <= first
        assert str(v.step) in v.sentence

    def test_the_first_position_that_is_not_finite(self) -> None:
        class Break(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x / 0

        g = run(nn.Sequential(nn.Linear(6, 4), nn.Tanh(), Break(), nn.Linear(4, 1)))
        v = verdict(g, "non-finite")
        assert v.positions == (Position("2", 0, "Break"),)
        assert v.step == 0

    def test_a_gradient_that_is_not_finite(self) -> None:
        class Root(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return (x * 0).sqrt()

        g = run(nn.Sequential(nn.Linear(6, 4), Root(), nn.Linear(4, 1)))
        v = verdict(g, "non-finite")
        assert v.positions == (Position("0", 0, "Linear"),)

    def test_a_loss_that_is_not_finite_is_a_sentence(self) -> None:
        model = net(6, 4, 1)
        with watch(model, every=1) as flow:
            model(torch.randn(2, 6)).sum().backward()
            flow.log(loss=float("nan"))
            flow.log(loss=torch.tensor(float("inf")))
        v = verdict(flow.result(), "non-finite")
        assert "loss" in v.sentence

    def test_dead_units_stay_dead_only_on_every_sample(self) -> None:
        model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 1))
        model[0].bias.data[[2, 7]] = -100.0
        model[0].weight.data[4] = 0.0
        model[0].bias.data[4] = -1.0
        model[0].weight.data[4, 0] = 1.0
        optimizer = torch.optim.SGD(model.parameters(), 0.0)
        with watch(model, optimizer, every=1) as flow:
            for value in (0.0, 0.0, 5.0, 0.0):
                optimizer.zero_grad()
                x = torch.randn(32, 6)
                x[:, 0] = value
                model(x).sum().backward()
                optimizer.step()
        g = flow.result()
        v = verdict(g, "dead units")
        assert v.positions == (Position("1", 0, "ReLU"),)
        assert v.evidence["num_dead"] == 2
        assert v.evidence["values_per_unit"] == 128
        assert torch.nonzero(g.dead_units[1]).flatten().tolist() == [2, 7]
        assert g.dead_fraction[:, 1].tolist() == pytest.approx([0.3, 0.3, 0.2, 0.2])

    def test_saturated(self) -> None:
        model = nn.Sequential(nn.Linear(6, 10), nn.Sigmoid(), nn.Linear(10, 1))
        model[0].bias.data.fill_(20.0)
        v = verdict(run(model), "saturated")
        assert v.positions == (Position("1", 0, "Sigmoid"),)
        assert v.evidence["saturated_fraction"] == 1.0

    def test_frozen_and_unused(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.c, self.d = nn.Linear(6, 4), nn.Linear(4, 1), nn.Linear(2, 2), nn.Linear(6, 1)
                self.a.bias.requires_grad_(False)

            def forward(self, x: Tensor) -> Tensor:
                return self.b(self.a(x)) + self.d(x).detach()

        g = run(Net(), steps=2)
        assert verdict(g, "frozen").parameters == ("a.bias",)
        assert set(verdict(g, "unused").parameters) == {"c.weight", "c.bias", "d.weight", "d.bias"}

    def test_updates_lost_to_rounding(self) -> None:
        model = net(6, 8, 1)
        g = run(model, steps=3, rate=1e-12)
        v = verdict(g, "update lost to rounding")
        assert set(v.parameters) >= {"0.weight", "2.weight"}
        assert v.evidence["lost_fraction"] > 0.9
        assert "update lost to rounding" not in kinds(run(net(6, 8, 1), steps=3, rate=0.1))

    def test_a_rate_of_zero_and_weights_nobody_steps_are_not_lost(self) -> None:
        model = net(6, 8, 1)
        assert "update lost to rounding" not in kinds(run(model, steps=3, rate=0.0))
        optimizer = torch.optim.SGD(model[0].parameters(), 0.1)
        with watch(model, optimizer, every=1) as flow:
            model(torch.randn(2, 6)).sum().backward()
            optimizer.step()
        g = flow.result()
        assert "update lost to rounding" not in kinds(g)
        assert g.update_ratio[0, g.parameters.index("2.weight")] == 0

    def test_every_verdict_names_a_threshold_or_a_count(self) -> None:
        limits = Thresholds(vanishing=0.9999, exploding=1e-9)
        g = run(net(6, 8, 8, 1), thresholds=limits)
        assert g.thresholds is limits
        assert "vanishing" in kinds(g)
        for v in g.verdicts:
            assert v.sentence.endswith(".")
            assert all(isinstance(value, float) for value in v.evidence.values())

    def test_zero_over_zero_is_nan(self) -> None:
        model = nn.Linear(6, 1)
        model.bias.data.zero_()
        model.bias.requires_grad_(False)
        g = run(model)
        assert math.isnan(g.update_ratio[0, g.parameters.index("bias")])
        assert g.update_ratio[0, g.parameters.index("weight")] > 0


class Clock:
    """A clock that goes by itself only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestBudget:
    @pytest.mark.parametrize("with_optimizer", [True, False])
    def test_the_trigger_between_samples_stays_attached(
        self, with_optimizer: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Attaching it anew at every step cost 2 % of a fast loop: more than the budget, so no sample ever followed."""
        attached: list[str] = []
        for name in ("after_step", "on_gradient"):
            original = getattr(observe, name)
            monkeypatch.setattr(observe, name, lambda *a, o=original, n=name: (attached.append(n), o(*a))[1])
        model, x = net(6, 4, 1), torch.randn(2, 6)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with watch(model, optimizer if with_optimizer else None, budget=1e-9) as flow:
            for step in range(200):
                if step == 100:
                    attached.clear()
                model.zero_grad()
                model(x).sum().backward()
                if with_optimizer:
                    optimizer.step()
                else:
                    with torch.no_grad():
                        for p in model.parameters():
                            p -= 0.1 * p.grad
        assert flow.failure is None
        assert flow.result().steps.tolist() == sorted(ALWAYS)
        assert attached == []

    def test_without_an_optimizer_the_trigger_follows_what_is_frozen(self) -> None:
        model, x = net(6, 4, 1), torch.randn(2, 6)
        with watch(model, every=10) as flow:
            for step in range(100):
                model.zero_grad()
                for p in model[0].parameters():
                    p.requires_grad_(step < 35 or step > 65)
                for p in model[-1].parameters():
                    p.requires_grad_(not step < 15)
                model(x).sum().backward()
                with torch.no_grad():
                    for p in model.parameters():
                        if p.grad is not None:
                            p -= 0.1 * p.grad
        assert flow.result().steps.tolist() == list(range(0, 100, 10))

    @pytest.mark.parametrize("budget", [0.01, 0.05, 0.5])
    @pytest.mark.parametrize("step_time", [0.003, 0.02])
    @pytest.mark.parametrize("cost", [0.0003, 0.004, 0.03])
    def test_no_window_of_ten_seconds_takes_more_than_the_budget(
        self, budget: float, step_time: float, cost: float
    ) -> None:
        clock = Clock()
        rhythm = Rhythm(budget, None, clock)
        rhythm.start()
        generator = np.random.default_rng(0)
        paid: list[tuple[float, float]] = []
        sampled = []
        for step in range(int(60 / (step_time + budget * step_time))):
            due = rhythm.due(step)
            clock.now += step_time * generator.uniform(0.5, 1.5)
            if due:
                spent = cost * generator.uniform(0.8, 1.0)
                rhythm.begin_sample()
                clock.now += spent
                rhythm.spend(spent)
                rhythm.end_sample()
                sampled.append(step)
                if step > 63:
                    paid.append((clock.now, spent))
            if step == 500:
                clock.now += 100.0  # somebody drinks coffee
        assert set(ALWAYS) <= set(sampled)
        allowed = budget * WINDOW
        times, costs = np.array([t for t, _ in paid]), np.array([c for _, c in paid])
        total = np.concatenate([[0.0], np.cumsum(costs)])
        for i, t in enumerate(times):
            inside = total[i + 1] - total[np.searchsorted(times, t - WINDOW, side="right")]
            assert inside <= budget * (WINDOW - inside) * 1.03 + (cost if cost > allowed else 0.0)
        if cost < allowed / 3:
            assert len(paid) >= 3

    def test_a_real_run_stays_within_its_budget_and_says_so(self) -> None:
        model = net(20, 64, 64, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        with watch(model, optimizer, budget=0.05) as flow:
            for _ in range(1500):
                optimizer.zero_grad()
                model(torch.randn(64, 20)).pow(2).mean().backward()
                optimizer.step()
        g = flow.result()
        assert flow.num_steps == 1500
        assert {0, 1, 3, 7, 15, 31, 63} <= set(g.steps.tolist())
        assert 0 < len(g.steps) < 1500
        assert isinstance(g.overhead, float)
        assert g.overhead > 0
        assert g.overhead.recent >= 0
        again = pickle.loads(pickle.dumps(g.overhead))
        assert (again, again.recent) == (g.overhead, g.overhead.recent)

    def test_between_samples_one_trigger_stays_attached(self) -> None:
        for by_hand in (False, True):
            model = net(6, 4, 1)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            with watch(model, None if by_hand else optimizer, every=50):
                for i in range(5):
                    model.zero_grad()
                    loss = model(torch.randn(2, 6)).sum()
                    if i > 1:
                        assert len(global_hooks()) <= 1
                    loss.backward()
                    if by_hand:
                        for p in model.parameters():
                            p.data.sub_(0.1 * p.grad)
                    else:
                        optimizer.step()
                    if i > 0:
                        assert len(global_hooks()) == 1
            assert global_hooks() == []


class TestHandling:
    def test_attach_and_detach_in_the_callbacks_of_a_fit(self) -> None:
        class Trainer:
            """Stands for somebody's training loop."""

            def __init__(self, callbacks: list[Any]) -> None:
                self.callbacks = callbacks

            def fit(self, model: nn.Module, steps: int) -> None:
                optimizer = torch.optim.SGD(model.parameters(), 0.1)
                for callback in self.callbacks:
                    callback.on_fit_start()
                for _ in range(steps):
                    optimizer.zero_grad()
                    model(torch.randn(4, 6)).sum().backward()
                    optimizer.step()
                for callback in self.callbacks:
                    callback.on_fit_end()

        class Callback:
            def __init__(self, meter: Meter) -> None:
                self.on_fit_start, self.on_fit_end = meter.attach, meter.detach

        model = net(6, 4, 1)
        meter = watch(model, every=1)
        trainer = Trainer([Callback(meter)])
        for steps in (3, 5):
            trainer.fit(model, steps)
            assert meter.result().steps.tolist() == list(range(steps))
            assert not meter.attached
        assert global_hooks() == []

    def test_attaching_twice_replaces_with_a_notice(self) -> None:
        model = net(6, 4, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        first, second = watch(model, optimizer, every=1), watch(model, optimizer, every=1)
        first.attach()
        before = len(global_hooks())
        with pytest.warns(UserWarning, match="already being watched"):
            second.attach()
        assert (first.attached, second.attached) == (False, True)
        assert len(global_hooks()) == before
        with pytest.warns(UserWarning, match="already being watched"):
            second.attach()
        assert len(global_hooks()) == before
        second.detach()
        second.detach()
        assert global_hooks() == []

    def test_running_the_cell_a_hundred_times(self) -> None:
        model = net(6, 4, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        references = []
        counts = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(100):
                flow = watch(model, optimizer, every=1)
                flow.attach()
                for _ in range(2):
                    model(torch.randn(2, 6)).sum().backward()
                    optimizer.step()
                references.append(weakref.ref(flow))
                counts.add(len(global_hooks()))
        assert len(counts) == 1
        assert flow.result().steps.tolist() == [0, 1]
        flow.detach()
        del flow
        gc.collect()
        assert [r for r in references if r() is not None] == []
        assert global_hooks() == []

    def test_copies_and_pickles_carry_no_hook_of_ours(self) -> None:
        model = net(6, 4, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with watch(model, optimizer, every=1) as flow:
            out = model(torch.randn(2, 6))
            twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.deepcopy([model, optimizer])[0]]
            assert out._backward_hooks is None
            for twin in twins:
                for module in twin.modules():
                    assert not module._forward_hooks
                    assert not module._forward_pre_hooks
                    assert not module._backward_hooks
                assert not any(p._backward_hooks for p in twin.parameters())
                twin(torch.randn(2, 6)).sum().backward()
            out.sum().backward()
            optimizer.step()
        g = flow.result()
        assert float(g.gradient_norm[0, 2]) == pytest.approx(math.sqrt(2))

    def test_the_graph_of_a_step_is_freed(self) -> None:
        """The context of a custom function is a node of the graph: once nobody holds the graph it must be gone."""
        contexts: list[weakref.ref[Any]] = []

        class Same(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor) -> Tensor:
                contexts.append(weakref.ref(ctx))
                return x.clone()

            @staticmethod
            def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
                return gradient

        class Layer(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return Same.apply(x)

        model = nn.Sequential(
            *[nn.Linear(6, 6), Layer(), nn.Unflatten(1, (2, 3)), nn.ReLU(inplace=True), nn.Flatten()] * 3
        )
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with watch(model, optimizer, every=2) as flow:
            for _ in range(5):
                model(torch.randn(4, 6)).sum().backward()
                optimizer.step()
            assert len(contexts) == 15
            assert [c for c in contexts[:-3] if c() is not None] == []
        assert [c for c in contexts if c() is not None] == []
        assert flow.failure is None

    def test_a_graph_that_outlives_the_meter_is_left_alone(self) -> None:
        model = net(6, 4, 1)
        flow = watch(model, every=1)
        flow.attach()
        loss = model(torch.randn(2, 6)).sum()
        flow.detach()
        loss.backward()
        assert len(flow.result().steps) == 0

    def test_a_failing_meter_lets_go_and_training_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from dlwidgets.compute.gradient_flow.activations import Activations

        def fail(*args: Any) -> None:
            raise RuntimeError("broken")

        monkeypatch.setattr(Activations, "add", fail)
        model = net(6, 4, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        flow = watch(model, optimizer, every=1)
        flow.attach()
        for _ in range(2):
            model(torch.randn(2, 6)).sum().backward()
            optimizer.step()
        assert global_hooks() == []
        with pytest.warns(UserWarning, match="broken"):
            flow.detach()

    def test_refusals(self) -> None:
        model, other = net(6, 4, 1), net(6, 4, 1)
        good = torch.optim.SGD(model.parameters(), 0.1)
        bad = torch.optim.SGD(other.parameters(), 0.1)
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got int"):
            watch(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer, several or None, got str"):
            watch(model, "sgd")
        with pytest.raises(ValueError, match="belongs to another model"):
            watch(model, bad)
        with pytest.raises(ValueError, match=r"optimizer\[1\] .* belongs to another model"):
            watch(model, [good, bad])
        with pytest.raises(ValueError, match="empty"):
            watch(model, [])
        for budget in (0, -1, 1.5, float("nan")):
            with pytest.raises(ValueError, match="budget must be a share"):
                watch(model, good, budget=budget)
        with pytest.raises(TypeError, match="budget must be a number"):
            watch(model, good, budget="1 %")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="every must be at least 1"):
            watch(model, good, every=0)
        with pytest.raises(TypeError, match="every must be a whole number"):
            watch(model, good, every=1.5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="thresholds must be"):
            watch(model, good, thresholds=3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="vanishing must be a number above 0"):
            Thresholds(vanishing=0.0)
        flow = watch(model, good)
        with pytest.raises(TypeError, match="loss must be a number"):
            flow.log(loss="high")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="loss must be one number"):
            flow.log(loss=torch.zeros(2))
        with pytest.raises(TypeError, match="loss must be real"):
            flow.log(loss=torch.tensor(1j))
        with pytest.raises(ValueError, match="loss must fit a float"):
            flow.log(loss=10**400)
