"""How much faster `monte_carlo` is than what most people write: the model in train mode, once for every sample.

Both take turns on the same model, inputs and number of samples, so that a busy machine slows both.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlwidgets.compute.dropout import monte_carlo

NUM_SAMPLES = 100
NUM_REPEATS = 11


def classifier() -> tuple[nn.Module, Tensor]:
    """A perceptron on a batch of digits, dropout after both hidden layers."""
    layers = (nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5))
    return nn.Sequential(*layers, nn.Linear(128, 10)), torch.randn(16, 64)


def one_digit() -> tuple[nn.Module, Tensor]:
    """The same perceptron on a single digit."""
    return classifier()[0], torch.randn(1, 64)


def head_only() -> tuple[nn.Module, Tensor]:
    """A convolutional network with dropout before its last layer only."""
    blocks: list[nn.Module] = []
    for channels, num_outputs in ((3, 16), (16, 32), (32, 64)):
        blocks += [nn.Conv2d(channels, num_outputs, 3, padding=1), nn.BatchNorm2d(num_outputs), nn.ReLU()]
        blocks += [nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(0.5), nn.Linear(1024, 10)), torch.randn(4, 3, 32, 32)


def everywhere() -> tuple[nn.Module, Tensor]:
    """The same with dropped feature maps after every block."""
    model, images = head_only()
    assert isinstance(model, nn.Sequential)
    parts = [part for layer in model for part in ((layer, nn.Dropout2d(0.2)) if type(layer) is nn.ReLU else (layer,))]
    return nn.Sequential(*parts), images


def transformer() -> tuple[nn.Module, Tensor]:
    """Two encoder layers on short sequences."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(4, 12, 32)


class Reader(nn.Module):
    """A recurrent network with dropout between and around its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.rnn, self.out = nn.Dropout(0.3), nn.LSTM(32, 32, 2, dropout=0.3), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Classes from the last step."""
        return self.out(self.drop(self.rnn(self.drop(x))[0][-1]))


def reader() -> tuple[nn.Module, Tensor]:
    """A recurrent network on short sequences."""
    return Reader(), torch.randn(12, 4, 32)


def naive(model: nn.Module, inputs: Tensor) -> Tensor:
    """The usual loop."""
    model.train()
    with torch.no_grad():
        samples = torch.stack([model(inputs).softmax(-1) for _ in range(NUM_SAMPLES)])
    model.eval()
    return samples.mean(0)


def seconds(run: Callable[[], object]) -> float:
    """How long one run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Print medians and quartiles of both, and the ratio of the medians."""
    torch.manual_seed(0)
    print(f"{NUM_SAMPLES} samples, {torch.get_num_threads()} threads, medians of {NUM_REPEATS} (quartiles)")
    for make in (classifier, one_digit, head_only, everywhere, transformer, reader):
        model, inputs = make()
        runs: dict[str, Callable[[], object]] = {
            "loop": lambda model=model, inputs=inputs: naive(model, inputs),
            "monte_carlo": lambda model=model, inputs=inputs: monte_carlo(model, inputs, NUM_SAMPLES),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for repeat in range(NUM_REPEATS + 1):
            for name, run in runs.items():
                elapsed = seconds(run)
                if repeat:
                    times[name].append(1000 * elapsed)
        told = []
        for name, values in times.items():
            low, middle, high = statistics.quantiles(values, n=4)
            told.append(f"{name} {middle:.1f} ms ({low:.1f} to {high:.1f})")
        ratios = [loop / ours for loop, ours in zip(times["loop"], times["monte_carlo"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{make.__name__:>12}: {', '.join(told)}, {middle:.1f} times faster ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
