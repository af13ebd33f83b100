"""Training loops of every hostile kind, each once with and once without a meter, and what must be equal afterwards."""

import contextlib
import copy
import dataclasses
import io
import itertools
import pickle
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

Watch = Callable[..., contextlib.AbstractContextManager[Any]]
Training = Callable[[Watch], tuple[nn.Module, list[torch.optim.Optimizer], list[Tensor]]]

TRAININGS: dict[str, Training] = {}
STEPS = 5


def training(function: Training) -> Training:
    """Collect a training loop: it gets ``watch(model, optimizer)`` and returns model, optimizers and losses."""
    TRAININGS[function.__name__] = function
    return function


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


def sgd(model: nn.Module, **options: Any) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), **({"lr": 0.1, "momentum": 0.9} | options))


def simple(model: nn.Module, shape: tuple[int, ...], watch: Watch, optimizer: Any = None, steps: int = STEPS) -> Any:
    """The ordinary loop, for models whose output is one tensor."""
    optimizer = optimizer or sgd(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model(torch.randn(shape)).pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


@training
def plain(watch: Watch) -> Any:
    return simple(mlp(6, 8, 8, 1), (16, 6), watch)


@training
def adam_with_everything(watch: Watch) -> Any:
    model = mlp(6, 8, 8, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, amsgrad=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=False)
            loss = model(torch.randn(16, 6)).pow(2).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


@training
def in_place(watch: Watch) -> Any:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU6(inplace=True), Residual(), nn.Conv2d(4, 2, 3), nn.SiLU(inplace=True),
        nn.Flatten(), nn.Linear(32, 4), nn.Hardswish(inplace=True), nn.Linear(4, 3), nn.ELU(inplace=True), nn.Linear(3,
        1),
    )  # fmt: skip
    return simple(model, (4, 3, 8, 8), watch)


@training
def in_place_on_views(watch: Watch) -> Any:
    return simple(nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 2)), (3, 4, 5), watch)


@training
def shared(watch: Watch) -> Any:
    middle = [nn.Linear(8, 8), nn.Sigmoid()] * 6
    return simple(nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), *middle, nn.Linear(8, 1)), (16, 6), watch)


@training
def dropout_and_norms(watch: Watch) -> Any:
    model = nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8),
        nn.Dropout(0.3),
        nn.RReLU(),
        nn.LayerNorm(8),
        nn.AlphaDropout(0.2),
        nn.Linear(8, 1),
    )
    return simple(model, (16, 6), watch)


class GAN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g, self.d = mlp(2, 8, 3, act=nn.ReLU), mlp(3, 8, 1, act=lambda: nn.LeakyReLU(0.2))


def gan_loop(watch: Watch, reuse: bool, given: Callable[[Any, Any], Any], watched: Callable[[GAN], nn.Module]) -> Any:
    model = GAN()
    opt_g, opt_d = torch.optim.Adam(model.g.parameters(), 0.01), torch.optim.Adam(model.d.parameters(), 0.01)
    losses = []
    with watch(watched(model), given(opt_g, opt_d)):
        for _ in range(STEPS):
            fake = model.g(torch.randn(8, 2))
            loss_d = F.softplus(-model.d(torch.randn(8, 3))).mean() + F.softplus(model.d(fake.detach())).mean()
            opt_d.zero_grad()
            loss_d.backward()
            opt_d.step()
            if not reuse:
                fake = model.g(torch.randn(8, 2))
            loss_g = F.softplus(-model.d(fake)).mean()
            opt_g.zero_grad()
            loss_g.backward()
            opt_g.step()
            losses += [loss_d.detach(), loss_g.detach()]
    return model, [opt_g, opt_d], losses


@training
def gan_both(watch: Watch) -> Any:
    return gan_loop(watch, False, lambda g, d: [g, d], lambda m: m)


@training
def gan_discriminator_first(watch: Watch) -> Any:
    return gan_loop(watch, True, lambda g, d: (d, g), lambda m: m)


@training
def gan_generator_only(watch: Watch) -> Any:
    return gan_loop(watch, True, lambda g, d: g, lambda m: m.g)


@training
def gan_found(watch: Watch) -> Any:
    return gan_loop(watch, True, lambda g, d: None, lambda m: m)


@training
def accumulation(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizer = sgd(model)
    losses = []
    with watch(model, None):
        for _ in range(STEPS):
            optimizer.zero_grad()
            for _ in range(3):
                loss = model(torch.randn(4, 6)).pow(2).mean() / 3
                loss.backward()
                losses.append(loss.detach())
            optimizer.step()
    return model, [optimizer], losses


@training
def lbfgs(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4, line_search_fn="strong_wolfe")
    x, losses = torch.randn(16, 6), []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(x) - x[:, :1]).pow(2).mean()
        loss.backward()
        losses.append(loss.detach())
        return loss

    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.step(closure)
    return model, [optimizer], losses


@training
def two_backward_passes(watch: Watch) -> Any:
    model = mlp(6, 8, 2)
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            out = model(torch.randn(4, 6))
            out[:, 0].pow(2).mean().backward(retain_graph=True)
            out[:, 1].sin().mean().backward()
            optimizer.step()
            losses.append(out.detach())
    return model, [optimizer], losses


@training
def gradient_penalty(watch: Watch) -> Any:
    model = mlp(6, 8, 8, 1)
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            x = torch.randn(4, 6, requires_grad=True)
            out = model(x)
            (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
            loss = out.pow(2).mean() + (slope.norm(dim=1) - 1).pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


class Energy(nn.Module):
    """Forces are derivatives of an energy, taken inside forward."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.scale = mlp(3, 8, 1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.requires_grad_()
        energy = self.net(x).sum()
        return self.scale(torch.autograd.grad(energy, x, create_graph=True)[0])


@training
def gradient_inside_forward(watch: Watch) -> Any:
    return simple(Energy(), (5, 3), watch)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.reentrant = nn.Linear(6, 8), reentrant
        self.block = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Dropout(0.2))
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(3):
            x = checkpoint(self.block, x, use_reentrant=self.reentrant)
        return self.last(x)


@training
def checkpointing(watch: Watch) -> Any:
    return simple(Checkpointed(False), (16, 6), watch)


@training
def checkpointing_reentrant(watch: Watch) -> Any:
    return simple(Checkpointed(True), (16, 6), watch)


@training
def checkpointing_everything(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizer = sgd(model)
    losses = []
    with watch(model, None):
        for i in range(STEPS):
            optimizer.zero_grad()
            x = torch.randn(4, 6, requires_grad=True)
            loss = checkpoint(model, x, use_reentrant=i % 2 == 0).pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


@training
def autocast(watch: Watch) -> Any:
    middle = [nn.Linear(8, 8), nn.GELU()] * 3
    model = nn.Sequential(nn.Linear(6, 8), *middle, nn.LayerNorm(8), nn.Linear(8, 1))
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=2)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS + 3):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(torch.randn(16, 6)).float().pow(2).mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.detach())
    return model, [optimizer], losses


@training
def torch_func(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizer = sgd(model)
    losses = []

    def loss_of(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,)).pow(2).mean()

    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            x = torch.randn(4, 6)
            parameters = {name: p.detach() for name, p in model.named_parameters()}
            per_sample = torch.func.vmap(torch.func.grad(loss_of), (None, 0))(parameters, x)
            torch.func.vmap(model)(x).pow(2).mean().backward()
            loss = torch.func.functional_call(model, dict(model.named_parameters()), (x,)).pow(2).mean()
            loss.backward()
            for name, p in model.named_parameters():
                assert p.grad is not None
                p.grad += 0.1 * per_sample[name].mean(0)
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


@dataclasses.dataclass
class Output:
    hidden: Tensor
    logits: Tensor
    note: str = "hello"


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))
        self.rnn, self.head = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, *, x: Tensor, scale: float = 1.0) -> Output:
        hidden, _ = self.rnn(x)
        return Output(hidden + self.bias, self.head(hidden) * scale)


class Wrapping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.gate = Structured(), nn.Parameter(torch.ones(()))

    def forward(self, *, x: Tensor) -> dict[str, Any]:
        out = self.inner(x=x, scale=2.0)
        return {"logits": out.logits * self.gate, "rest": [out.hidden, None, 3]}


@training
def structured_outputs(watch: Watch) -> Any:
    model = Wrapping()
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            out = model(x=torch.randn(2, 5, 4))
            loss = out["logits"].pow(2).mean() + out["rest"][0].mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


@training
def empty_batches(watch: Watch) -> Any:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for size in (3, 0, 0, 2):
            optimizer.zero_grad()
            loss = model(torch.randn(size, 1, 5, 5)).sum()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


@training
def frozen(watch: Watch) -> Any:
    model = mlp(6, 8, 8, 1)
    for p in model[:3].parameters():
        p.requires_grad_(False)
    return simple(model, (16, 6), watch, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1))


@training
def eval_passes(watch: Watch) -> Any:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 1))
    optimizer = sgd(model, lr=0.01)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(2, 5, 8)).pow(2).mean()
            loss.backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                losses.append(model(torch.randn(2, 5, 8)))
            with torch.inference_mode():
                losses.append(model(torch.randn(2, 5, 8)).clone())
            model.train()
            with torch.inference_mode():
                losses.append(model(torch.randn(2, 5, 8)).clone())
            losses.append(loss.detach())
    return model, [optimizer], losses


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fail = nn.Linear(6, 8), nn.Linear(8, 1), ""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.fail == "forward":
            raise RuntimeError("forward")
        if self.fail == "backward":
            x.register_hook(self.refuse)
        return self.b(x)

    @staticmethod
    def refuse(gradient: Tensor) -> None:
        raise RuntimeError("backward")


@training
def exceptions(watch: Watch) -> Any:
    model = Failing()
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for fail in ("", "forward", "", "backward", ""):
            model.fail = fail
            optimizer.zero_grad()
            try:
                loss = model(torch.randn(4, 6)).pow(2).mean()
                loss.backward()
            except RuntimeError:
                continue
            optimizer.step()
            losses.append(loss.detach())
    model.fail = ""
    return model, [optimizer], losses


@training
def compiled(watch: Watch) -> Any:
    model = nn.Sequential(mlp(6, 8, 8, 1), nn.Dropout(0.1))
    optimizer = sgd(model)
    fast = torch.compile(model, backend="eager")
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with watch(model, optimizer):
            for _ in range(STEPS):
                optimizer.zero_grad()
                loss = fast(torch.randn(16, 6)).pow(2).mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
    return model, [optimizer], losses


@training
def compiled_in_place(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    model.compile(backend="eager")
    result = simple(model, (16, 6), watch)
    model._compiled_call_impl = None
    return result


@training
def compiled_inside(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):

        @torch.compile(backend="eager")
        def step(x: Tensor) -> Tensor:
            optimizer.zero_grad()
            loss = model(x).pow(2).mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        losses = [step(torch.randn(4, 6)) for _ in range(STEPS)]
    return model, [optimizer], losses


@training
def data_parallel(watch: Watch) -> Any:
    return simple(nn.DataParallel(mlp(6, 8, 1)), (16, 6), watch)


@training
def replaced_modules(watch: Watch) -> Any:
    model = mlp(6, 8, 8, 1)
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for i in range(STEPS):
            if i == 2:
                model[2] = nn.Linear(8, 8)
                model[3] = nn.ReLU()
                optimizer.add_param_group({"params": list(model[2].parameters())})
            if i == 4:
                model.append(nn.Linear(1, 1))
            optimizer.zero_grad()
            loss = model(torch.randn(4, 6)).pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


@training
def by_hand(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    losses = []
    with watch(model, None):
        for _ in range(STEPS):
            loss = model(torch.randn(4, 6)).pow(2).mean()
            loss.backward()
            for p in model.parameters():
                assert p.grad is not None
                p.data.add_(p.grad, alpha=-0.1)
            model.zero_grad()
            losses.append(loss.detach())
    return model, [], losses


@training
def by_autograd_grad(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    losses = []
    with watch(model, None):
        for _ in range(STEPS):
            loss = model(torch.randn(4, 6)).pow(2).mean()
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, g in zip(model.parameters(), gradients, strict=True):
                    p -= 0.1 * g
            losses.append(loss.detach())
    return model, [], losses


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.bag, self.gru = nn.Embedding(20, 4, sparse=True), nn.EmbeddingBag(20, 4), nn.GRU(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(self.table(x))[0].mean(0) + self.bag(x)


@training
def sparse_gradients(watch: Watch) -> Any:
    model = Sparse()
    first = torch.optim.SparseAdam(model.table.parameters(), 0.1)
    second = sgd(nn.ModuleList([model.bag, model.gru]))
    losses = []
    with watch(model, [second, first]):
        for _ in range(STEPS):
            first.zero_grad()
            second.zero_grad()
            loss = model(torch.randint(20, (3, 3))).pow(2).mean()
            loss.backward()
            first.step()
            second.step()
            losses.append(loss.detach())
    return model, [first, second], losses


@training
def parametrized(watch: Watch) -> Any:
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(6, 8)), nn.Tanh(), parametrizations.spectral_norm(nn.Linear(8, 1))
    )
    return simple(model, (16, 6), watch)


class Rude(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.mul_(0.5)


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Rude.apply(x)


@training
def custom_functions(watch: Watch) -> Any:
    return simple(nn.Sequential(nn.Linear(6, 8), Sign(), nn.Linear(8, 1), Sign()), (16, 6), watch)


@training
def somebody_elses_hooks(watch: Watch) -> Any:
    model = mlp(6, 8, 8, 1)
    model[0].register_forward_hook(lambda m, args, out: out * 1.5)
    model[2].register_full_backward_hook(lambda m, inputs, outputs: (inputs[0] * 0.5,))
    model[4].weight.register_hook(lambda g: g.clamp(-0.1, 0.1))
    model[1].register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    return simple(model, (16, 6), watch)


@training
def optimizer_in_backward(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizers = {p: torch.optim.SGD([p], 0.1) for p in model.parameters()}

    def step(p: Tensor) -> None:
        optimizers[p].step()
        optimizers[p].zero_grad()

    handles = [p.register_post_accumulate_grad_hook(step) for p in model.parameters()]
    losses = []
    with watch(model, None):
        for _ in range(STEPS):
            loss = model(torch.randn(4, 6)).pow(2).mean()
            loss.backward()
            losses.append(loss.detach())
    for handle in handles:
        handle.remove()
    return model, list(optimizers.values()), losses


@training
def copies_in_between(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizer = sgd(model)
    average = torch.optim.swa_utils.AveragedModel(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 6)).pow(2).mean()
            twin = copy.deepcopy(model)
            other = pickle.loads(pickle.dumps(model))
            twin(torch.randn(4, 6)).sum().backward()
            losses += [other(torch.ones(1, 6)).detach()]
            loss.backward()
            copy.deepcopy(optimizer)
            optimizer.step()
            average.update_parameters(model)
            state = io.BytesIO()
            torch.save(model.state_dict(), state)
            torch.save(optimizer.state_dict(), state)
            model.load_state_dict(model.state_dict())
            losses.append(loss.detach())
    return model, [optimizer], losses


@training
def traced_in_between(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            optimizer.zero_grad()
            traced = torch.jit.trace(model, torch.randn(4, 6))
            loss = model(torch.randn(4, 6)).pow(2).mean() + traced(torch.randn(4, 6)).mean()
            loss.backward()
            optimizer.step()
            losses += [loss.detach(), torch.tensor(len(list(traced.inlined_graph.nodes())))]
    return model, [optimizer], losses


@training
def anomaly_mode(watch: Watch) -> Any:
    with warnings.catch_warnings(), torch.autograd.detect_anomaly(check_nan=False):
        warnings.simplefilter("ignore")
        return simple(mlp(6, 8, 1), (16, 6), watch)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self) -> Tensor:
        return self.weight


class ParameterOut(nn.Module):
    """A module whose output is a parameter itself, one without output, and one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix, self.same, self.unused = Table(), nn.Linear(3, 1), nn.Identity(), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.same(x) @ self.same(self.table()))


@training
def parameter_as_output(watch: Watch) -> Any:
    return simple(ParameterOut(), (5, 4), watch)


@training
def double_precision(watch: Watch) -> Any:
    model = mlp(6, 8, 1).double()
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 6, dtype=torch.float64)).pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


@training
def half_precision(watch: Watch) -> Any:
    model = mlp(6, 8, 1).bfloat16()
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 6).bfloat16()).pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


class Spectral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))
        self.inner = nn.Linear(4, 4, dtype=torch.complex64)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(self.inner(torch.fft.rfft(x)[..., :4] @ self.weight))


@training
def complex_numbers(watch: Watch) -> Any:
    return simple(nn.Sequential(Spectral(), nn.Linear(6, 1)), (5, 6), watch)


@training
def lazy_modules(watch: Watch) -> Any:
    model = nn.Sequential(nn.LazyConv1d(3, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    optimizer = sgd(model)
    return simple(model, (4, 2, 6), watch, optimizer)


class Tree(nn.Module):
    """A module that calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.join = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            return x
        half = len(x) // 2
        return torch.tanh(self.join(torch.cat([self(x[:half]), self(x[half:])], dim=1)))


@training
def recursion(watch: Watch) -> Any:
    return simple(Tree(), (8, 4), watch)


@training
def tied_weights(watch: Watch) -> Any:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return simple(model, (16, 6), watch)


@training
def in_a_thread(watch: Watch) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(simple(mlp(6, 8, 1), (16, 6), watch)))
    thread.start()
    thread.join()
    return results[0]


@training
def parts_by_themselves(watch: Watch) -> Any:
    model = mlp(6, 8, 8, 1)
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            x = torch.randn(4, 6)
            for layer in model:
                x = layer(x)
            loss = x.pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return model, [optimizer], losses


class Subclass(Tensor):
    calls = 0

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        Subclass.calls += 1
        return super().__torch_function__(function, types, args, kwargs or {})


@training
def tensor_subclass(watch: Watch) -> Any:
    model = mlp(6, 8, 1)
    optimizer = sgd(model)
    losses = []
    Subclass.calls = 0
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 6).as_subclass(Subclass)).pow(2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach().as_subclass(Tensor))
    return model, [optimizer], [*losses, torch.tensor(Subclass.calls)]


@training
def validation_without_eval(watch: Watch) -> Any:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    optimizer = sgd(model)
    losses = []
    with watch(model, optimizer):
        for _ in range(STEPS):
            optimizer.zero_grad()
            with torch.no_grad():
                losses.append(model(torch.randn(4, 6)))
            loss = model(torch.randn(4, 6)).pow(2).mean()
            loss.backward()
            optimizer.step()
    return model, [optimizer], losses


@dataclasses.dataclass
class Outcome:
    """Everything that a meter must not change."""

    bits: dict[str, bytes]
    plain: dict[str, Any]


def bits(x: Tensor) -> bytes:
    dense = x.detach().to_dense() if x.layout != torch.strided else x.detach()
    return dense.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b""


def outcome(run: Training, watch: Watch) -> Outcome:
    """Train once from fixed seeds and collect parameters, gradients, buffers, optimizer state, losses, RNGs,
    attributes.
    """
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 (the global state is what is compared)
    random.seed(7)
    model, optimizers, losses = run(watch)
    found: dict[str, bytes] = {}
    plain: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        found[f"state {name}"] = bits(value)
    for name, p in model.named_parameters():
        plain[f"grad of {name}"] = p.grad is None
        plain[f"hooks of {name}"] = len(p._backward_hooks or ()), p.requires_grad, p.is_leaf
        if p.grad is not None:
            found[f"grad of {name}"] = bits(p.grad)
            plain[f"layout of {name}"] = p.grad.layout, p.grad.is_coalesced() if p.grad.is_sparse else p.grad.stride()
    for i, optimizer in enumerate(optimizers):
        for key, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    found[f"optimizer {i} {key} {name}"] = bits(value)
                elif not isinstance(value, list):
                    plain[f"optimizer {i} {key} {name}"] = value
        plain[f"attributes of optimizer {i}"] = sorted(vars(optimizer))
        hooks = optimizer._optimizer_step_post_hooks, optimizer._optimizer_step_pre_hooks
        plain[f"hooks of optimizer {i}"] = [len(h) for h in hooks]
    for i, loss in enumerate(losses):
        found[f"loss {i}"] = bits(loss)
    for name, module in model.named_modules():
        plain[f"mode of {name}"] = module.training
        plain[f"attributes of {name}"] = sorted(vars(module))
        plain[f"tables of {name}"] = {
            key: len(value) for key, value in vars(module).items() if key.endswith("hooks") and value is not None
        }
        plain[f"values of {name}"] = {
            key: value for key, value in vars(module).items() if isinstance(value, (int, float, str, tuple, bool))
        }
    found["torch"] = bits(torch.get_rng_state())
    plain["numpy"] = str(np.random.get_state())  # noqa: NPY002
    plain["random"] = random.getstate()
    return Outcome(found, plain)


@contextlib.contextmanager
def no_watch(model: nn.Module, optimizer: Any) -> Iterator[None]:
    yield None
