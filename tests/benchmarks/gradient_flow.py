"""Step time with a meter that samples every step, over step time without: medians of interleaved rounds, one thread.

Run ``python tests/benchmarks/gradient_flow.py``. A careless meter written by hand is measured beside. With the
environment variable PEERS_WANDB_PYTHON set to a Python that has torch and wandb, the same networks are measured under
``wandb.watch(log="all", log_freq=1)`` offline as well.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Step = Callable[[], None]


def sigmoid_mlp(shared: bool) -> tuple[nn.Module, Callable[[], Tensor]]:
    """26 layers of width 128, batch 64."""
    middle: list[nn.Module] = [nn.Linear(128, 128), nn.Sigmoid()] * 24
    if not shared:
        middle = [layer for _ in range(24) for layer in (nn.Linear(128, 128), nn.Sigmoid())]
    model = nn.Sequential(nn.Linear(42, 128), nn.Sigmoid(), *middle, nn.Linear(128, 1))
    x, y = torch.randn(64, 42), torch.randn(64, 1)
    return model, lambda: (model(x) - y).pow(2).mean()


def transformer() -> tuple[nn.Module, Callable[[], Tensor]]:
    """4 layers, d = 256, 16 sequences of length 64."""
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True), 4, enable_nested_tensor=False
    )
    x = torch.randn(16, 64, 256)
    return model, lambda: model(x).pow(2).mean()


class Block(nn.Module):
    """The basic residual block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.down: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.down is None else self.down(x)
        return self.relu(out)


def resnet18(batch: int) -> tuple[nn.Module, Callable[[], Tensor]]:
    """ResNet-18 on images of 64 x 64; the part of the meter that looks at the weights does not grow with the batch."""
    widths = [
        (64, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        (512, 512, 1),
    ]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    model = nn.Sequential(
        *stem, *(Block(*w) for w in widths), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)
    )
    x = torch.randn(batch, 3, 64, 64)
    return model, lambda: model(x).logsumexp(1).mean()


CASES: dict[str, tuple[Callable[[], Any], int, float]] = {
    "sigmoid MLP, 26 layers": (lambda: sigmoid_mlp(False), 30, 1.6),
    "sigmoid MLP, one shared layer": (lambda: sigmoid_mlp(True), 30, 1.6),
    "transformer, 4 layers": (transformer, 1, 1.15),
    "ResNet-18, 8 images": (lambda: resnet18(8), 1, 1.3),
    "ResNet-18, 32 images": (lambda: resnet18(32), 1, 1.3),
}


def dlwidgets_meter(model: nn.Module, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[Any]:
    """Our meter at every step."""
    from dlwidgets.compute.gradient_flow import watch

    return watch(model, optimizer, every=1)


@contextlib.contextmanager
def wandb_meter(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """wandb's at every step, offline."""
    import wandb

    del optimizer
    with wandb.init(mode="offline", project="benchmark", dir=tempfile.gettempdir()) as run:
        run.watch(model, log="all", log_freq=1)
        original = model.forward

        def logged(*args: Any, **kwargs: Any) -> Any:
            run.log({})
            return original(*args, **kwargs)

        model.forward = logged
        yield
        del model.forward
        run.unwatch(model)


@contextlib.contextmanager
def careless_meter(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """What one writes by hand: a hook per module and a loop over the parameters, a number at a time.

    The statistics of ours without its care: float32 norms, in-place activations not copied, no dead units, no calls of
    shared modules apart, no record. It tells how dear a call of torch is on the machine at hand.
    """
    before = [p.detach().clone() for p in model.parameters()]
    numbers: list[float] = []

    def called(module: nn.Module, args: Any, output: Tensor) -> None:
        del args
        x = output.detach()
        numbers.extend((x.mean().item(), x.std().item(), (x == 0).float().mean().item()))
        if isinstance(module, nn.Sigmoid):
            numbers.append((x * (1 - x) < 0.0025).float().mean().item())
        if output.requires_grad:
            output.register_hook(lambda gradient: numbers.append(gradient.norm().item()))

    def stepped(*_: Any) -> None:
        for parameter, old in zip(model.parameters(), before, strict=True):
            now = parameter.detach()
            if parameter.grad is not None:
                numbers.append(parameter.grad.norm().item())
            numbers.extend((old.norm().item(), (now - old).norm().item()))
            old.copy_(now)
        numbers.clear()

    handles = [module.register_forward_hook(called) for module in model.modules() if not list(module.children())]
    handle = optimizer.register_step_post_hook(stepped)
    yield
    handle.remove()
    for other in handles:
        other.remove()


def ratios(build: Callable[[], Any], repeats: int, meter: Callable[..., Any], rounds: int = 25) -> list[float]:
    """Step time with over step time without, once a round."""
    torch.manual_seed(0)
    model, loss_of = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def train() -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            optimizer.zero_grad()
            loss_of().backward()
            optimizer.step()
        return time.perf_counter() - began

    train()
    found = []
    for _ in range(rounds):
        without = train()
        with meter(model, optimizer):
            train()
            with_it = train()
        found.append(2 * with_it / (without + train()))
    return found


def main(name: str, meter: Callable[..., Any]) -> None:
    """Print a line per network."""
    torch.set_num_threads(1)
    for case, (build, repeats, goal) in CASES.items():
        found = sorted(ratios(build, repeats, meter))
        low, high = found[len(found) // 4], found[3 * len(found) // 4]
        print(f"{name:10s} {case:30s} {statistics.median(found):.2f}  [{low:.2f}, {high:.2f}]  goal {goal}", flush=True)


if __name__ == "__main__":
    if "--wandb" in sys.argv:
        main("wandb", wandb_meter)
    else:
        main("dlwidgets", dlwidgets_meter)
        main("careless", careless_meter)
        peer = os.environ.get("PEERS_WANDB_PYTHON")
        if peer:
            subprocess.run([peer, __file__, "--wandb"], check=True)
