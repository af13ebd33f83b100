"""Training loops that once made the meter say something false, or nothing."""

import copy
import gc
import itertools
import math
import weakref
from typing import Any

import pytest
import torch
from test_gradient_flow_interference import global_hooks
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from dlwidgets.compute.gradient_flow import Meter, Thresholds, watch


def net(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def sgd(model: nn.Module, rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), rate)


class TestStandIns:
    """Other tensors stand in for the parameters while ``functional_call`` runs."""

    @pytest.mark.parametrize("given", [True, False])
    def test_weights_that_are_computed_from_the_parameters(self, given: bool) -> None:
        model = net(4, 5, 1)
        optimizer = sgd(model)
        with watch(model, optimizer if given else None, every=1) as flow:
            for _ in range(4):
                optimizer.zero_grad()
                scaled = {name: 0.9 * p for name, p in model.named_parameters()}
                torch.func.functional_call(model, scaled, (torch.randn(3, 4),)).pow(2).mean().backward()
                expected = [float(p.grad.norm()) for p in model.parameters()]
                optimizer.step()
        g = flow.result()
        assert g.steps.tolist() == [0, 1, 2, 3]
        assert g.parameters == tuple(name for name, _ in model.named_parameters())
        assert g.parameter_gradient_norm[-1].tolist() == pytest.approx(expected, rel=1e-6)
        assert (g.update_ratio > 0).all()

    @pytest.mark.parametrize("first", [True, False])
    def test_a_teacher_in_the_same_modules(self, first: bool) -> None:
        model = net(4, 5, 1)
        teacher = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = sgd(model)
        with watch(model, optimizer, every=1) as flow:
            for x in torch.randn(4, 3, 4):
                optimizer.zero_grad()
                student = None if first else model(x)
                with torch.no_grad():
                    target = torch.func.functional_call(model, teacher, (x,))
                student = model(x) if first else student
                (student - target - 1).pow(2).mean().backward()
                expected = [float(p.grad.norm()) for p in model.parameters()]
                optimizer.step()
        g = flow.result()
        assert g.steps.tolist() == [0, 1, 2, 3]
        assert g.parameter_gradient_norm[-1].tolist() == pytest.approx(expected, rel=1e-6)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self) -> Tensor:
        return self.weight


class Prompted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = Table(), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x @ self.table())


@pytest.mark.parametrize("every", [1, 2])
def test_an_output_that_is_a_parameter_counts_once_a_step(every: int) -> None:
    model = Prompted()
    optimizer, expected = sgd(model), []
    with watch(model, optimizer, every=every) as flow:
        for _ in range(6):
            optimizer.zero_grad()
            loss = model(torch.randn(5, 4)).pow(2).mean()  # kept until the next one, as in every loop
            loss.backward()
            expected.append(float(model.table.weight.grad.norm()))
            optimizer.step()
    g = flow.result()
    at = [p.module for p in g.positions].index("table")
    assert g.gradient_norm[:, at].tolist() == pytest.approx(expected[::every], rel=1e-6)
    assert loss.isfinite()


def test_an_input_that_is_handed_on_counts_once_a_step() -> None:
    model = nn.Sequential(nn.Identity(), nn.Linear(4, 1))
    optimizer, x = sgd(model, 0.0), torch.randn(3, 4, requires_grad=True)
    with watch(model, optimizer, every=1) as flow:
        for _ in range(4):
            x.grad = None
            loss = model(x).sum()
            loss.backward()
            optimizer.step()
    assert loss.isfinite()
    assert flow.result().gradient_norm[:, 0].tolist() == pytest.approx([float(x.grad.norm())] * 4, rel=1e-6)
    assert not x._backward_hooks


def test_an_interrupted_forward_shifts_no_calls() -> None:
    model, stop = net(4, 5, 1), False

    def press(*_: Any) -> None:
        if stop:
            raise KeyboardInterrupt

    handle = model[2].register_forward_pre_hook(press)
    optimizer = sgd(model)
    with watch(model, optimizer, every=1) as flow:
        for step in range(6):
            stop = step == 3
            try:
                optimizer.zero_grad()
                model(torch.randn(3, 4)).sum().backward()
                optimizer.step()
            except KeyboardInterrupt:
                continue
    handle.remove()
    g = flow.result()
    assert [(p.module, p.call) for p in g.positions] == [("0", 0), ("1", 0), ("2", 0)]
    assert g.steps.tolist() == [0, 1, 2, 3, 4]
    assert not g.gradient_norm.isnan().any()


def test_a_cell_that_makes_its_model_anew_leaves_nothing_behind() -> None:
    models, counts, names = [], set(), {}
    for _ in range(30):
        names["model"] = model = net(4, 5, 1)
        optimizer = sgd(model)
        names["flow"] = flow = watch(model, optimizer, every=1)
        flow.attach()
        for _ in range(2):
            model(torch.randn(3, 4)).sum().backward()
            optimizer.step()
        assert flow.result().steps.tolist() == [0, 1]
        models.append(weakref.ref(model))
        counts.add(len(global_hooks()))
    del model, optimizer, flow
    gc.collect()
    assert len(counts) == 1
    assert sum(model() is not None for model in models) == 1
    meter: Meter = names["flow"]
    meter.detach()
    assert global_hooks() == []


class TestSaturation:
    @pytest.mark.parametrize(
        ("low", "high"), [(-0.1, 0.9), (0.1, 0.7), (0.0, 1.0), (-1e-9, 1e-9)], ids=["wide", "above", "unit", "tiny"]
    )
    @pytest.mark.parametrize("scale", [1.0, 1e-9])
    def test_clipped_elements_are_those_that_lie_outside(self, low: float, high: float, scale: float) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 50), nn.Hardtanh(low, high), nn.Linear(50, 1))
        optimizer, x = sgd(model, 0.0), scale * torch.randn(20, 4)
        model[0].bias.data.zero_()
        entered = model[0](x)
        with watch(model, optimizer, every=1) as flow:
            model(x).sum().backward()
            optimizer.step()
        outside = (entered <= torch.tensor(low)) | (entered >= torch.tensor(high))
        assert float(flow.result().saturated_fraction[0, 1]) == pytest.approx(float(outside.float().mean()), abs=1e-6)

    @pytest.mark.parametrize("module", [nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.SiLU(inplace=True)])
    def test_called_by_keyword(self, module: nn.Module) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.act, self.last, self.named = nn.Linear(4, 50), module, nn.Linear(50, 1), True

            def forward(self, x: Tensor) -> Tensor:
                x = 3 * self.first(x)
                return self.last(self.act(input=x) if self.named else self.act(x))

        model, found = Net(), []
        optimizer, x = sgd(model, 0.0), torch.randn(20, 4)
        with watch(model, optimizer, every=1) as flow:
            for model.named in (True, False):
                model(x).sum().backward()
                optimizer.step()
        g = flow.result()
        found = g.saturated_fraction[:, [p.module for p in g.positions].index("act")].tolist()
        if getattr(module, "inplace", False):  # torch shows no hook the keywords before the call
            assert math.isnan(found[0])
        else:
            assert found[0] == found[1]
        assert found[1] > 0


class TestVerdicts:
    def test_gradients_that_are_nan_are_not_called_unused(self) -> None:
        class Root(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.last, self.idle = nn.Linear(4, 3), nn.Linear(3, 1), nn.Linear(1, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.last((0 * self.first(x)).sqrt())

        model = Root()
        optimizer = sgd(model)
        with watch(model, optimizer, every=1) as flow:
            model(torch.randn(5, 4)).sum().backward()
            optimizer.step()
        g = flow.result()
        assert g.parameter_gradient_norm[0, :2].isnan().all()
        kinds = {verdict.kind: verdict for verdict in g.verdicts}
        assert kinds["unused"].parameters == ("idle.weight", "idle.bias")
        assert kinds["non-finite"].positions[0].module == "first"

    def test_the_first_position_that_is_not_finite_is_the_first_in_the_forward_pass(self) -> None:
        class Late(nn.Module):
            """Its first layer is used, and seen, after the others."""

            def __init__(self) -> None:
                super().__init__()
                self.pre, self.body, self.warm = nn.Linear(4, 4), nn.Linear(4, 1), True

            def forward(self, x: Tensor) -> Tensor:
                return self.body(x if self.warm else self.pre(x))

        model = Late()
        optimizer = sgd(model)
        with watch(model, optimizer, every=1) as flow:
            for step in range(3):
                model.warm = step == 0
                x = torch.randn(5, 4) / (0 if step == 2 else 1)
                model(x).sum().backward()
                optimizer.step()
        (verdict,) = [v for v in flow.result().verdicts if v.kind == "non-finite"]
        assert (verdict.positions[0].module, verdict.step) == ("pre", 2)

    def test_every_verdict_names_the_limit_that_it_uses(self) -> None:
        model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 1), nn.Linear(9, 9))
        model[1].bias.requires_grad_(False)
        limits = Thresholds(largest=1e3, unused_steps=2, frozen_parameters=1)
        optimizer = sgd(model)
        with watch(model, optimizer, every=1, thresholds=limits) as flow:
            kinds = []
            for scale in (1.0, 1e6):
                model[:2](scale * torch.randn(5, 4)).sum().backward()
                optimizer.step()
                kinds.append([v.kind for v in flow.result().verdicts])
        assert kinds[0] == ["frozen"]  # one step is not yet enough to call something unused
        found = {v.kind: v for v in flow.result().verdicts}
        assert {"non-finite", "unused", "frozen"} <= set(found)
        for kind, name in (("non-finite", "largest"), ("unused", "unused_steps"), ("frozen", "frozen_parameters")):
            assert found[kind].evidence["threshold"] == getattr(flow.result().thresholds, name)
        assert "not below 1000 in size" in found["non-finite"].sentence


def test_a_lazy_module_is_called_what_it_has_become() -> None:
    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU())
    with watch(model, every=1) as flow:
        model(torch.randn(3, 4)).sum().backward()
    assert [p.kind for p in flow.result().positions] == ["Linear", "ReLU"]


def test_who_writes_into_a_result_changes_no_other() -> None:
    model = net(4, 5, 1)
    optimizer = sgd(model)
    with watch(model, optimizer, every=1) as flow:
        model(torch.randn(3, 4)).sum().backward()
        optimizer.step()
        before = flow.result().gradient_norm.clone()
        flow.result().gradient_norm.fill_(7)
        flow.result().weight_norm.zero_()
    assert torch.equal(flow.result().gradient_norm, before)
    assert (flow.result().weight_norm > 0).all()


class Recurrent(nn.Module):
    """One layer, called ``num_calls`` times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.num_calls = nn.Linear(4, 4), 1

    def forward(self, x: Tensor, weights: list[Tensor] | None = None) -> Tensor:
        for call in range(self.num_calls):
            x = torch.tanh(
                self.layer(x) if weights is None else nn.functional.linear(x, weights[call], self.layer.bias)
            )
        return x


@pytest.mark.parametrize("num_calls", [2, 3, 6])
def test_a_parameter_that_becomes_shared_later_is_split_at_once(num_calls: int) -> None:
    torch.manual_seed(0)
    model = Recurrent()
    optimizer = sgd(model, 0.01)
    with watch(model, optimizer, every=1) as flow:
        for step in range(3):
            model.num_calls = 1 if step == 0 else num_calls
            x = torch.randn(6, 4)
            copies = [model.layer.weight.detach().clone().requires_grad_() for _ in range(num_calls)]
            parts = torch.autograd.grad(model(x, copies).pow(2).sum(), copies[: model.num_calls])
            optimizer.zero_grad()
            model(x).pow(2).sum().backward()
            optimizer.step()
            if step:
                (shared,) = [s for s in flow.result().shared if s.parameter == "layer.weight"]
                assert [flow.result().positions[at].call for at in shared.positions] == list(range(num_calls))
                assert shared.gradient_norm[step].tolist() == pytest.approx([float(p.norm()) for p in parts], rel=1e-5)
    assert flow.failure is None


def test_a_tied_weight_whose_second_user_comes_later() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.warm = nn.Linear(4, 4), nn.Linear(4, 4), True
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) if self.warm else self.b(self.a(x))

    model = Tied()
    optimizer = sgd(model, 0.01)
    with watch(model, optimizer, every=1) as flow:
        for step in range(3):
            model.warm = step == 0
            model(torch.randn(6, 4)).pow(2).sum().backward()
            optimizer.step()
    (shared,) = flow.result().shared
    assert [flow.result().positions[at].module for at in shared.positions] == ["a", "b"]
    assert shared.share[1:].sum(1).tolist() == pytest.approx([1.0, 1.0])


class TestWithoutAnOptimizer:
    @pytest.mark.parametrize("options", [{}, {"every": 1}, {"every": 3}])
    def test_gradients_that_are_taken_by_hand(self, options: Any) -> None:
        model = net(4, 5, 1)
        with watch(model, **options) as flow:
            for _ in range(40):
                loss = model(torch.randn(3, 4)).pow(2).mean()
                gradients = torch.autograd.grad(loss, list(model.parameters()))
                with torch.no_grad():
                    for p, gradient in zip(model.parameters(), gradients, strict=True):
                        p -= 0.1 * gradient
        expected = list(range(0, 40, options["every"])) if options else [0, 1, 3, 7, 15, 31]
        assert flow.result().steps.tolist() == expected
        assert flow.num_steps == 40
        assert all(not p._backward_hooks for p in model.parameters())

    @pytest.mark.parametrize("options", [{}, {"every": 3}])
    def test_training_that_moves_to_another_branch(self, options: Any) -> None:
        class Branches(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.second = nn.Linear(4, 1), nn.Linear(4, 1), False

            def forward(self, x: Tensor) -> Tensor:
                return (self.b if self.second else self.a)(x)

        model = Branches()
        with watch(model, **options) as flow:
            for step in range(40):
                model.second = step >= 4
                model.zero_grad()
                model(torch.randn(3, 4)).pow(2).mean().backward()
                for p in model.parameters():
                    if p.grad is not None:
                        p.data -= 0.1 * p.grad
        expected = list(range(0, 40, options["every"])) if options else [0, 1, 3, 7, 15, 31]
        assert flow.result().steps.tolist() == expected

    @pytest.mark.parametrize("every", [1, 2])
    def test_a_loop_that_only_looks_at_gradients_is_seen_while_it_runs(self, every: int) -> None:
        model = net(4, 5, 1)
        with watch(model, every=every) as flow:
            for step in range(5):
                model.zero_grad()
                model(torch.randn(3, 4)).sum().backward()
                assert flow.num_steps == step
                assert flow.result().steps.tolist() == list(range(0, step, every))
        assert flow.result().steps.tolist() == list(range(0, 5, every))

    def test_a_fast_loop_is_counted_to_the_step(self) -> None:
        model, x = net(4, 5, 1), torch.randn(3, 4)
        with watch(model, budget=1e-9) as flow:
            for _ in range(300):
                model.zero_grad()
                model(x).sum().backward()
                with torch.no_grad():
                    for p in model.parameters():
                        p -= 1e-3 * p.grad
        assert flow.num_steps == 300
        assert flow.result().steps.tolist() == [0, 1, 3, 7, 15, 31, 63]


def test_a_fast_loop_with_an_optimizer_is_counted_to_the_step() -> None:
    model, x = net(4, 5, 1), torch.randn(3, 4)
    optimizer = sgd(model, 1e-3)
    with watch(model, optimizer, budget=1e-9) as flow:
        for _ in range(1000):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
    assert flow.num_steps == 1000


def test_a_scripted_model_can_be_watched() -> None:
    model = torch.jit.script(net(4, 5, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, optimizer, every=1) as flow:
        for _ in range(2):
            model(torch.randn(3, 4)).sum().backward()
            optimizer.step()
    assert flow.failure is None
    assert (flow.result().update_ratio > 0).all()


@pytest.mark.parametrize("size", [100, 40_000, 300_000])
def test_one_element_that_moves_does_not_hide_those_whose_update_is_lost(size: int) -> None:
    layer = nn.Linear(size, 1, bias=False)
    direction = torch.full((1, size), 1e-9)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[0, -1] = direction[0, 0] = 0.0
        direction[0, -1] = 10.0
    optimizer = sgd(layer)
    with watch(layer, optimizer, every=1) as flow:
        layer(direction).sum().backward()
        optimizer.step()
    g = flow.result()
    assert float(g.lost_fraction[0, 0]) == pytest.approx((size - 2) / (size - 1), rel=1e-9)
    assert "update lost to rounding" in [v.kind for v in g.verdicts]


class Overwritten(nn.Module):
    """A view that is used, overwritten in place and used again; ``added`` stands for what is added to its output."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 6, 1) if how in ("part", "half") else nn.Linear(4, 6)
        self.cut: nn.Module = {"flatten": nn.Flatten(1), "part": Cut()}.get(how, nn.Identity())
        self.last, self.how = nn.LazyLinear(1), how

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        h = self.cut(self.first(x))
        if added is not None:
            h = h + added
        early = 0.5 * h
        if self.how == "twice":
            h.mul_(2.0)
            h.relu_()
        elif self.how == "half":
            h[:, :3].relu_()
        else:
            h = nn.functional.relu(h, inplace=True)
        return self.last((h * h + early).flatten(1))


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :-1]


@pytest.mark.parametrize("how", ["linear", "flatten", "part", "twice", "half"])
def test_an_output_that_is_overwritten_in_place_has_the_gradient_of_all_its_uses(how: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 2, 4) if how in ("part", "half") else torch.randn(5, 3, 4)
    model = Overwritten(how)
    model(x)
    model.double()
    x = x.double()
    output = "cut" if how in ("flatten", "part") else "first"
    added = torch.zeros_like(model.cut(model.first(x))).requires_grad_()
    model(x, added).pow(2).sum().backward()
    assert added.grad is not None
    optimizer = sgd(model, 0.0)
    with watch(model, optimizer, every=1) as flow:
        for _ in range(2):
            model(x).pow(2).sum().backward()
        optimizer.step()
    g = flow.result()
    at = [p.module for p in g.positions].index(output)
    assert float(g.gradient_norm[0, at]) == pytest.approx(float(added.grad.norm()) * math.sqrt(2), rel=1e-12)


def test_graphs_with_overwritten_views_are_freed() -> None:
    alive: list[weakref.ref[Any]] = []

    class Marker(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            alive.append(weakref.ref(ctx))
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            return gradients[0]

    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 1))
    optimizer = sgd(model)
    with watch(model, optimizer, every=1):
        for _ in range(5):
            x = Marker.apply(torch.randn(5, 3, 4, requires_grad=True))
            loss = model(x).sum()
            loss.backward()
            optimizer.step()
            del x, loss
    gc.collect()
    assert [ref for ref in alive if ref() is not None] == []


class Scaled(nn.Module):
    """A layer with a scale of its own before it, or before and behind it."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.scale, self.layer, self.both = nn.Parameter(torch.rand(3) + 0.5), nn.Linear(3, 3), both

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x * self.scale)
        return x * self.scale if self.both else x


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_the_share_of_a_parameter_beside_other_modules(both: bool, deep: bool) -> None:
    torch.manual_seed(0)
    block: nn.Module = Scaled(both)
    if deep:
        block.layer = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model = nn.Sequential(block, nn.Tanh(), block).double()
    unrolled = nn.Sequential(copy.deepcopy(block), nn.Tanh(), copy.deepcopy(block))
    x = torch.randn(4, 3, dtype=torch.float64)
    unrolled(x).pow(2).mean().backward()
    with watch(model, every=1) as flow:
        model(x).pow(2).mean().backward()
    g = flow.result()
    expected = {
        name: [float(p.grad.norm()), float(q.grad.norm())]
        for (name, p), q in zip(unrolled[0].named_parameters(), unrolled[2].parameters(), strict=True)
    }
    assert len(g.shared) == len(expected)
    for shared in g.shared:
        assert [g.positions[at].call for at in shared.positions] == [0, 1]
        assert shared.gradient_norm[0].tolist() == pytest.approx(
            expected[shared.parameter.removeprefix("0.")], rel=1e-9
        )


def test_a_sparse_embedding_that_is_looked_up_twice() -> None:
    torch.manual_seed(0)
    table, other = (nn.Embedding(11, 5, sparse=True) for _ in range(2))
    other.load_state_dict(table.state_dict())
    rows = torch.randint(11, (4, 3))
    (table(rows) * other(rows.flip(0))).sum().backward()
    expected = [float(e.weight.grad.to_dense().norm()) for e in (table, other)]

    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = other

        def forward(self, rows: Tensor) -> Tensor:
            return (self.table(rows) * self.table(rows.flip(0))).sum()

    model = Siamese()
    with watch(model, every=1) as flow:
        model(rows).backward()
    (shared,) = flow.result().shared
    assert shared.gradient_norm[0].tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_view_whose_base_is_overwritten_and_summed(transposed: bool) -> None:
    """The gradient of the base does not lie in memory as the base does: a sum's is one number, expanded."""

    class Half(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return y[:, :2]

    class Sides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.cut = nn.Linear(4, 6), Half()

        def forward(self, x: Tensor, added: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
            y = self.first(x)
            half = self.cut(y)
            if isinstance(added, Tensor):
                y = torch.cat([half + added, y[:, 2:]], 1)
                side = (half + added) * 0.5
            else:
                side = half * 0.5
                y += 1.0
                return y, side
            return y + 1.0, side

    def loss(outputs: tuple[Tensor, Tensor]) -> Tensor:
        y, side = outputs
        whole = (y.t() * torch.arange(30.0).view(6, 5)).sum() if transposed else y.sum()
        return whole + side.pow(2).sum()

    torch.manual_seed(0)
    model, x = Sides(), torch.randn(5, 4)
    added = torch.zeros(5, 2, requires_grad=True)
    loss(model(x, added)).backward()
    assert added.grad is not None
    with watch(model, every=1) as flow:
        loss(model(x)).backward()
    assert flow.failure is None
    g = flow.result()
    at = [p.module for p in g.positions].index("cut")
    assert float(g.gradient_norm[0, at]) == pytest.approx(float(added.grad.norm()), rel=1e-6)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("segments", [True, False])
def test_checkpointing_around_the_whole_model(reentrant: bool, segments: bool) -> None:
    model, x = net(4, 5, 5, 1), torch.randn(3, 4, requires_grad=True)

    def forward() -> Tensor:
        if segments:
            return checkpoint_sequential(model, 2, x, use_reentrant=reentrant)
        return checkpoint(model, x, use_reentrant=reentrant)

    tables = []
    for run in (forward, lambda: model(x)):
        optimizer = sgd(model, 0.0)
        with watch(model, optimizer, every=1) as flow:
            for _ in range(2):
                run().pow(2).sum().backward()
                optimizer.step()
        g = flow.result()
        tables.append({p: g.gradient_norm[:, at].tolist() for at, p in enumerate(g.positions)})
    assert tables[0] == tables[1]
