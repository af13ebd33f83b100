"""A small classifier with dropout for those who bring no model."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlwidgets.compute.context import Context, tick

_DROPS = (3, 7)
"""Where the example's dropouts stand."""


def example_classifier(
    num_train: int = 300, num_steps: int = 60, *, context: Context | None = None
) -> tuple[nn.Module, Tensor]:
    """A perceptron trained for a moment on scikit-learn's 8 x 8 digits, and ten digits that it has not seen.

    The last of them is no digit at all: the mean of two, which a model should be less sure about. Dropout stands where
    it is often put: after the activations, once with a batch normalisation behind it. The global random state is not
    touched.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(0)

    def linear(fan_in: int, fan_out: int) -> nn.Module:
        layer: nn.Module = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
        return layer

    model = nn.Sequential(
        nn.Flatten(),
        linear(64, 64),
        nn.ReLU(),
        nn.Dropout(0.2),
        linear(64, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Dropout(0.5),
        linear(64, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(num_steps):
        tick(context, step / num_steps, "training an example")
        with torch.enable_grad():
            hidden = images[:num_train]
            for position, layer in enumerate(model):
                if position in _DROPS:  # with masks of our own: nn.Dropout would draw from the global generator
                    keep = 1 - layer.p  # type: ignore[operator]
                    hidden = hidden * (torch.rand(hidden.shape, generator=generator) < keep) / keep
                else:
                    hidden = layer(hidden)
            optimizer.zero_grad()
            F.cross_entropy(hidden, labels[:num_train]).backward()
        optimizer.step()
    shown = images[num_train : num_train + 10].clone()
    shown[9] = (shown[0] + shown[1]) / 2
    return model.eval().requires_grad_(False), shown
