"""What it costs to trace a network and ask about one unit, in forward passes of the same network on the same image.

VGG-16 and ResNet-152 at 224x224, float32 on the CPU with two threads. Capture, query and forward take turns, so that a
busy machine slows all of them. Where the environment variable PEERS_TORCHLENS_PYTHON names a Python that has TorchLens,
its logged forward pass is measured in the same way.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NUM_REPEATS = 9
SHAPE = (1, 3, 224, 224)


def vgg16() -> nn.Sequential:
    """Simonyan and Zisserman's configuration D."""
    layers: list[nn.Module] = []
    channels = 3
    for num_convolutions, num_outputs in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(num_convolutions):
            layers += [nn.Conv2d(channels, num_outputs, 3, padding=1), nn.ReLU(inplace=True)]
            channels = num_outputs
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(25088, 4096), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True)]
    return nn.Sequential(nn.Sequential(*layers), nn.Flatten(), *head, nn.Dropout(), nn.Linear(4096, 1000)).eval()


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        sizes = ((channels, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1))
        layers: list[nn.Module] = []
        for num_in, num_out, size, step in sizes:
            layers += [
                nn.Conv2d(num_in, num_out, size, step, size // 2, bias=False),
                nn.BatchNorm2d(num_out),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != 4 * width:
            projection = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet152() -> nn.Sequential:
    """He et al., 3, 8, 36 and 3 bottlenecks."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 64
    for stage, num_blocks in enumerate((3, 8, 36, 3)):
        for block in range(num_blocks):
            layers.append(Bottleneck(channels, 64 * 2**stage, 2 if stage and not block else 1))
            channels = 256 * 2**stage
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)).eval()


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {"VGG-16": vgg16, "ResNet-152": resnet152}


def seconds(run: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.no_grad()
def in_turns(model: nn.Module, runs: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of each of ``runs`` and of a forward pass before it: the ratios, one per repeat."""
    image = torch.randn(SHAPE)
    model(image)
    ratios: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(NUM_REPEATS):
        for name, run in runs.items():
            forward = seconds(lambda: model(image))
            ratios[name].append(seconds(run) / forward)
    return ratios


def ours(model: nn.Module) -> dict[str, list[float]]:
    """Capture with one query, and a query alone, of a unit in the last feature map."""
    from dlwidgets.compute.receptive_field import trace

    image = torch.randn(SHAPE)
    net = trace(model, image)
    net.field((3, 3), "0")
    runs = {
        "capture and one query": lambda: trace(model, image).field((3, 3), "0"),
        "one query": lambda: net.field((3, 3), "0"),
    }
    return in_turns(model, runs)


def theirs(model: nn.Sequential) -> dict[str, list[float]]:
    """TorchLens' trace of the feature maps, nothing saved, and the box that it gives for the same unit (no holes)."""
    import torchlens  # type: ignore[import-not-found]

    image = torch.randn(SHAPE)

    def box() -> Any:
        return torchlens.trace(model[0], image, save=None).layers[-2].receptive_field.at((3, 3))

    return in_turns(model, {"TorchLens": box})


def described(ratios: list[float]) -> str:
    """Median and spread in words."""
    return f"{statistics.median(ratios):.3f} forward passes (from {min(ratios):.3f} to {max(ratios):.3f})"


def ask_torchlens(python: str, name: str) -> list[float] | str:
    """The ratios as measured by this file in another Python, or why there are none."""
    done = subprocess.run([python, __file__, "--torchlens", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    ratios: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return ratios


def main() -> None:
    """Print every ratio."""
    torch.set_num_threads(2)
    from dlwidgets.compute.receptive_field import trace

    warm_up = seconds(lambda: trace(nn.Conv2d(1, 1, 3), (1, 1, 8, 8)).field((0, 0)))
    print(f"receptive field, first capture in the process: {warm_up:.1f} s")
    for name, build in NETWORKS.items():
        torch.manual_seed(0)
        medians = {}
        for what, ratios in ours(build()).items():
            medians[what] = statistics.median(ratios)
            print(f"receptive field, {name}, {what}: {described(ratios)}")
        python = os.environ.get("PEERS_TORCHLENS_PYTHON")
        if python is None:
            continue
        peer = ask_torchlens(python, name)
        if isinstance(peer, str):
            print(f"receptive field, {name}, TorchLens could not: {peer}")
        else:
            print(f"receptive field, {name}, TorchLens: {described(peer)}")
            factor = statistics.median(peer) / medians["capture and one query"]
            print(f"receptive field, {name}, TorchLens takes {factor:.1f} times as long as capture and one query")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torchlens"]:
        torch.set_num_threads(2)
        print(json.dumps(theirs(NETWORKS[sys.argv[2]]())["TorchLens"]))
    else:
        main()
