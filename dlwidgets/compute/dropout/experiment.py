"""Does dropout help? Small networks trained on few digits, for a sweep of probabilities."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.device import choose_device
from dlwidgets.compute.dropout.arguments import checked_count, checked_probabilities, checked_seed

_LEARNING_RATE = 0.01
_NUM_POINTS = 16  # of a curve


@dataclass(frozen=True, eq=False)
class Sweep:
    """How training went for every probability and seed.

    Attributes
    ----------
    probabilities
        The dropout probabilities.
    epoch
        After how many epochs the curves' points were taken; the first is 0, before training.
    train_accuracy, validation_accuracy
        Share of right answers in eval mode, on the training digits and on all others.
    train_loss, validation_loss
        Cross-entropy in nats in eval mode.
    """

    probabilities: Float[Tensor, "probability"]
    epoch: Int[Tensor, "point"]
    train_accuracy: Float[Tensor, "probability seed point"]
    validation_accuracy: Float[Tensor, "probability seed point"]
    train_loss: Float[Tensor, "probability seed point"]
    validation_loss: Float[Tensor, "probability seed point"]

    @property
    def gap(self) -> Float[Tensor, "probability"]:
        """Training minus validation accuracy at the end, the mean over seeds: how much is overfitted."""
        return (self.train_accuracy - self.validation_accuracy)[:, :, -1].mean(1)

    @property
    def gap_standard_error(self) -> Float[Tensor, "probability"]:
        """Of ``gap``, from the spread over seeds; NaN for a single seed."""
        gaps = (self.train_accuracy - self.validation_accuracy)[:, :, -1]
        return gaps.std(1) / gaps.shape[1] ** 0.5


def sweep(
    probabilities: Iterable[float] = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
    num_train: int = 150,
    num_seeds: int = 5,
    num_epochs: int = 150,
    *,
    num_hidden: int = 64,
    seed: int = 0,
    device: torch.device | str | None = None,
    context: Context | None = None,
) -> Sweep:
    """Train networks 64 - hidden - hidden - 10 with dropout after both ReLUs on scikit-learn's 8 x 8 digits.

    Every seed draws its own training digits, initial weights and masks, the same for all probabilities, so that only
    the probability differs; what a probability gives does not depend on which others are in the sweep. Full batches,
    Adam. All networks train at once, as one batch of matrix products.

    Parameters
    ----------
    probabilities
        Of dropping a hidden unit.
    num_train
        Training digits, drawn at random; the rest of the 1797 are for validation.
    num_seeds
        Repetitions: seed, seed + 1, ...
    num_epochs
        Passes over the training digits.
    num_hidden
        Units in each of the two hidden layers.
    seed
        The first seed. The global random state is not touched.
    device
        Where to compute; by default a GPU when there is one.
    context
        Hears how far it is and can stop it.

    Raises
    ------
    TypeError, ValueError
        If a number is of the wrong kind or out of range.
    Cancelled
        If the context says so.
    """
    chances = checked_probabilities(probabilities)
    if not chances:
        raise ValueError("probabilities must hold at least one number")
    num_train = checked_count(num_train, "num_train")
    num_seeds = checked_count(num_seeds, "num_seeds")
    num_epochs = checked_count(num_epochs, "num_epochs")
    num_hidden = checked_count(num_hidden, "num_hidden")
    seed = checked_seed(seed)
    chosen = choose_device(device)

    images, labels = _digits()
    if num_train >= len(labels):
        raise ValueError(f"num_train must leave digits for validation: less than {len(labels)}, got {num_train}")
    generators = [torch.Generator().manual_seed(seed + index) for index in range(num_seeds)]
    orders = torch.stack([torch.randperm(len(labels), generator=generator) for generator in generators])
    train, validation = orders[:, :num_train], orders[:, num_train:]
    sizes = (64, num_hidden, num_hidden, 10)
    parameters = [
        torch.stack([_initial(generator, fan_in, fan_out) for generator in generators])
        .repeat(len(chances), 1, 1)
        .to(chosen)
        .requires_grad_()
        for fan_in, fan_out in pairwise(sizes)
    ]
    mask_generators = [torch.Generator(chosen).manual_seed(seed + index) for index in range(num_seeds)]
    p = torch.tensor(chances, device=chosen).reshape(-1, 1, 1, 1)
    scale = torch.where(p < 1, 1 / (1 - p), torch.zeros_like(p))

    def networks(chosen_digits: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels for every network: probabilities in the order of ``chances``, seeds within each."""
        pictures = torch.cat([images[chosen_digits], torch.ones(*chosen_digits.shape, 1)], dim=-1)
        return (
            pictures.repeat(len(chances), 1, 1).to(chosen),
            labels[chosen_digits].repeat(len(chances), 1).to(chosen),
        )

    def dropped(hidden: Tensor) -> Tensor:
        shape = hidden.shape[1:]
        uniform = torch.stack([torch.rand(shape, generator=g, device=chosen) for g in mask_generators])
        mask = (uniform >= p) * scale  # probability seed digit unit
        return hidden * mask.flatten(0, 1)

    def logits(pictures: Tensor, training: bool) -> Tensor:
        hidden = pictures
        for weights in parameters[:-1]:
            hidden = torch.bmm(hidden, weights).relu()
            hidden = _with_one(dropped(hidden) if training else hidden)
        return torch.bmm(hidden, parameters[-1])

    train_set, validation_set = networks(train), networks(validation)
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    points = sorted({round(num_epochs * index / (_NUM_POINTS - 1)) for index in range(_NUM_POINTS)})
    curves: list[list[Tensor]] = [[], [], [], []]
    for epoch in range(num_epochs + 1):
        tick(context, epoch / num_epochs, f"epoch {epoch} of {num_epochs}")
        if epoch in points:
            measured = (*_measured(logits, *train_set), *_measured(logits, *validation_set))
            for curve, values in zip(curves, measured, strict=True):
                curve.append(values)
        if epoch < num_epochs:
            pictures, targets = train_set
            optimizer.zero_grad()
            with torch.enable_grad():
                # The sum over networks: each one's gradient is that of its own mean loss.
                loss = F.cross_entropy(logits(pictures, True).transpose(1, 2), targets, reduction="sum") / num_train
                loss.backward()
            optimizer.step()
    shape = (len(chances), num_seeds, len(points))
    train_accuracy, train_loss, validation_accuracy, validation_loss = (
        torch.stack(curve, dim=-1).reshape(shape).cpu() for curve in curves
    )
    return Sweep(
        probabilities=torch.tensor(chances),
        epoch=torch.tensor(points),
        train_accuracy=train_accuracy,
        validation_accuracy=validation_accuracy,
        train_loss=train_loss,
        validation_loss=validation_loss,
    )


def _digits() -> tuple[Tensor, Tensor]:
    """All images, pixels in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


def _initial(generator: torch.Generator, fan_in: int, fan_out: int) -> Tensor:
    """Weights and, as the last row, biases, uniform as in ``nn.Linear``."""
    bound = fan_in**-0.5
    return (torch.rand(fan_in + 1, fan_out, generator=generator) * 2 - 1) * bound


def _with_one(hidden: Tensor) -> Tensor:
    """One more unit that is always 1, which the biases belong to."""
    return F.pad(hidden, (0, 1), value=1.0)


def _measured(logits: Callable[[Tensor, bool], Tensor], pictures: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy and loss of every network in eval mode."""
    with torch.no_grad():
        answers = logits(pictures, False)
        accuracy = (answers.argmax(-1) == targets).float().mean(1)
        loss = F.cross_entropy(answers.transpose(1, 2), targets, reduction="none").mean(1)
    return accuracy, loss
