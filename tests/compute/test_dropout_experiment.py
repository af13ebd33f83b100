"""Does dropout help? The experiment's claims, and its arithmetic beside plain networks trained one by one."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from dlwidgets.compute.context import Cancelled
from dlwidgets.compute.dropout import sweep


@pytest.fixture(scope="module")
def result():
    return sweep((0.0, 0.5, 0.95))


def test_some_dropout_narrows_the_gap_and_too_much_forgets(result) -> None:
    assert result.train_accuracy.shape == (3, 5, len(result.epoch))
    assert float(result.gap[1]) < float(result.gap[0])
    final = result.train_accuracy[:, :, -1].mean(1)
    assert float(final[0] - final[2]) >= 0.05
    assert float(final[0]) > 0.99


def test_the_narrower_gap_is_no_accident() -> None:
    """Other digits and weights, paired by seed: the difference is several of its standard errors."""
    other = sweep((0.0, 0.5), num_seeds=8, seed=1000)
    gaps = (other.train_accuracy - other.validation_accuracy)[:, :, -1]
    difference = gaps[0] - gaps[1]
    assert float(difference.mean()) > 2 * float(difference.std()) / len(difference) ** 0.5


def test_curves_and_their_summary(result) -> None:
    assert result.epoch[0] == 0
    assert result.epoch[-1] == 150
    assert bool((result.epoch.diff() > 0).all())
    for accuracy in (result.train_accuracy, result.validation_accuracy):
        assert bool(((accuracy >= 0) & (accuracy <= 1)).all())
    assert bool((result.train_loss[0, :, -1] < result.train_loss[0, :, 0]).all())
    gaps = result.train_accuracy[:, :, -1] - result.validation_accuracy[:, :, -1]
    torch.testing.assert_close(result.gap, gaps.mean(1))
    torch.testing.assert_close(result.gap_standard_error, gaps.std(1) / 5**0.5)


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_the_batch_of_networks_equals_one_plain_network(p) -> None:
    """nn.Linear and a loop, from the same random numbers."""
    num_train, num_hidden, num_epochs, seed = 40, 7, 6, 3
    batched = sweep((0.9, p), num_train, 2, num_epochs, num_hidden=num_hidden, seed=seed - 1)

    generator, masks = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    digits = load_digits()
    images, labels = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=generator)
    layers = []
    for fan_in, fan_out in ((64, num_hidden), (num_hidden, num_hidden), (num_hidden, 10)):
        values = (torch.rand(fan_in + 1, fan_out, generator=generator) * 2 - 1) / fan_in**0.5
        layer = nn.Linear(fan_in, fan_out)
        layer.weight.data, layer.bias.data = values[:-1].T.clone(), values[-1].clone()
        layers.append(layer)
    optimizer = torch.optim.Adam([parameter for layer in layers for parameter in layer.parameters()], lr=0.01)
    train, validation = order[:num_train], order[num_train:]

    def plain(x: torch.Tensor, training: bool) -> torch.Tensor:
        for layer in layers[:-1]:
            x = layer(x).relu()
            if training:
                x = x * (torch.rand(x.shape, generator=masks) >= p) / (1 - p)
        return layers[-1](x)

    for epoch in range(num_epochs + 1):
        with torch.no_grad():
            for name, chosen in (("train", train), ("validation", validation)):
                answers = plain(images[chosen], False)
                accuracy = float((answers.argmax(1) == labels[chosen]).float().mean())
                loss = float(F.cross_entropy(answers, labels[chosen]))
                assert float(getattr(batched, f"{name}_loss")[1, 1, epoch]) == pytest.approx(loss, rel=2e-3), epoch
                assert float(getattr(batched, f"{name}_accuracy")[1, 1, epoch]) == pytest.approx(accuracy, abs=2e-3)
        optimizer.zero_grad()
        F.cross_entropy(plain(images[train], True), labels[train]).backward()
        optimizer.step()


def test_deterministic_and_apart_from_the_rest() -> None:
    state = torch.get_rng_state()
    one = sweep((0.3,), 30, 2, 5, num_hidden=8)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    with torch.no_grad():
        among_others = sweep((0.0, 0.3, 1.0), 30, 2, 5, num_hidden=8)
    torch.testing.assert_close(among_others.validation_loss[1], one.validation_loss[0], rtol=1e-4, atol=1e-5)
    assert torch.equal(sweep((0.3,), 30, 2, 5, num_hidden=8).train_loss, one.train_loss)
    assert not torch.equal(sweep((0.3,), 30, 2, 5, num_hidden=8, seed=9).train_loss, one.train_loss)


def test_progress_and_stop() -> None:
    class Log:
        fractions: list[float] = []  # noqa: RUF012

        def report(self, fraction: float, text: str) -> None:
            assert "epoch" in text
            self.fractions.append(fraction)

        def cancelled(self) -> bool:
            return len(self.fractions) == 4

    log = Log()
    with pytest.raises(Cancelled):
        sweep((0.3,), 30, 2, 8, num_hidden=8, context=log)
    assert log.fractions == [0, 1 / 8, 2 / 8, 3 / 8]


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"probabilities": (0.5, 1.5)}, ValueError, r"probabilities\[1\] must lie from 0 to 1, got 1.5"),
        ({"probabilities": ()}, ValueError, "probabilities must hold at least one number"),
        ({"num_train": 1797}, ValueError, "num_train must leave digits for validation: less than 1797, got 1797"),
        ({"num_train": 0}, ValueError, "num_train must be at least 1, got 0"),
        ({"num_seeds": 1.5}, TypeError, "num_seeds must be a whole number, got 1.5"),
        ({"num_epochs": -1}, ValueError, "num_epochs must be at least 1, got -1"),
        ({"num_hidden": "8"}, TypeError, "num_hidden must be a whole number"),
    ],
)
def test_bad_input_gets_one_sentence(options, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        sweep(**options)
