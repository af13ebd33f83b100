"""Monte Carlo dropout: counted masks, enumerated networks, and models left as they were."""

import itertools
import math
import threading

import numpy as np
import pytest
import torch
from binomial import assert_binomial, bernstein
from dropout_zoo import COUNTED, Calls, Functional, P, TrainOnly, fingerprint
from torch import Tensor, nn
from torch.nn import functional as F

from dlwidgets.compute.context import Cancelled
from dlwidgets.compute.dropout import find_dropout, monte_carlo, uncertainty, with_dropout
from dlwidgets.compute.dropout.sampling import Sampler

NUM = 400
BATCH, UNITS = 3, 4
COMPARISONS = 3 * len(COUNTED) * BATCH * UNITS


def small_classifier(p: float = 0.4, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Dropout(p), nn.Linear(5, 3)).double()


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum(1)


@pytest.mark.parametrize("probability", [None, 0.6])
@pytest.mark.parametrize("name", COUNTED)
def test_every_sample_has_its_own_mask(name, probability) -> None:
    """Counts of kept samples are binomial for every entry: what shares masks between samples has 0 or all."""
    model = COUNTED[name].make()
    p = P if probability is None else probability
    result = monte_carlo(model, torch.ones(BATCH, UNITS), NUM, probability, output="values", seed=1)
    counts = result.mean.double() * (1 - p) * NUM
    assert float((counts - counts.round()).abs().max()) < 1e-3
    assert_binomial(counts.round(), NUM, 1 - p, COMPARISONS)
    kept = counts.round()
    spread = (kept * (NUM - kept) / (NUM * (NUM - 1))).sqrt() / (1 - p)
    torch.testing.assert_close(result.std.double(), spread, rtol=1e-5, atol=1e-6)
    assert result.predictive_entropy is None
    assert result.mutual_information is None


@pytest.mark.parametrize("name", COUNTED)
def test_samples_go_through_the_model_together(name, monkeypatch) -> None:
    calls = []
    one_by_one = Sampler._one_by_one
    monkeypatch.setattr(Sampler, "_one_by_one", lambda self, *place: calls.append(place) or one_by_one(self, *place))
    monte_carlo(COUNTED[name].make(), torch.ones(BATCH, UNITS), 5, output="values")
    assert bool(calls) != COUNTED[name].vectorised


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize(("p", "value"), [(0.0, 1.0), (1.0, 0.0)])
def test_never_and_always_are_exact(name, p, value) -> None:
    result = monte_carlo(COUNTED[name].make(), torch.ones(BATCH, UNITS), 9, p, output="values")
    assert torch.equal(result.mean, torch.full((BATCH, UNITS), value))
    assert torch.equal(result.std, torch.zeros(BATCH, UNITS))


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(name, training) -> None:
    model = COUNTED[name].make().train(training)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    x = torch.ones(BATCH, UNITS)
    before = fingerprint(model)
    monte_carlo(model, x, 7, output="values")
    monte_carlo(model, x, 7, 0.2, output="values")
    assert fingerprint(model) == before
    assert torch.equal(x, torch.ones(BATCH, UNITS))


def test_units_of_one_sample_are_independent_and_whole_maps_are_not() -> None:
    """Two units survive together with (1 - p)^2; with one mask for the batch two rows survive together with 1 - p."""
    product = Calls(lambda self, x: self.drop(x).prod(1, keepdim=True), drop=nn.Dropout(P))
    counts = monte_carlo(product, torch.ones(6, 2), NUM, output="values").mean.double() * (1 - P) ** 2 * NUM
    assert_binomial(counts.round(), NUM, (1 - P) ** 2, 12)
    rows = Calls(lambda self, x: (x * F.dropout(torch.ones(1, 6), P, self.training)).prod(0))
    counts = monte_carlo(rows, torch.ones(2, 6), NUM, output="values").mean.double() * (1 - P) ** 2 * NUM
    assert_binomial(counts.round(), NUM, 1 - P, 12)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_prediction_and_uncertainty_equal_all_masks(p) -> None:
    """A network with 5 dropped units has 32 masks: the exact mean, spread and information, and bounds around them."""
    model, n = small_classifier(p), 20000
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        hidden = model[1](model[0](x))
        masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5)), dtype=torch.float64)
        weights = ((1 - p) * masks + p * (1 - masks)).prod(1)
        outputs = torch.stack([model[3](hidden * mask / (1 - p)).softmax(1) for mask in masks])
    mean = torch.tensordot(weights, outputs, 1)
    variance = torch.tensordot(weights, (outputs - mean).square(), 1)
    entropies = torch.stack([entropy(output) for output in outputs])
    expected_entropy = torch.tensordot(weights, entropies, 1)
    entropy_variance = torch.tensordot(weights, (entropies - expected_entropy).square(), 1)
    squares = outputs.square()
    squares_mean = torch.tensordot(weights, squares, 1)
    squares_variance = torch.tensordot(weights, (squares - squares_mean).square(), 1)

    result = monte_carlo(model, x, n, seed=3)
    comparisons = 2 * (mean.numel() * 2 + 4)
    assert bool(((result.mean - mean).abs() <= bernstein(variance, 1, n, comparisons)).all())
    second = result.std.square() * (n - 1) / n + result.mean.square()
    assert bool(((second - squares_mean).abs() <= bernstein(squares_variance, 1, n, comparisons)).all())
    torch.testing.assert_close(result.predictive_entropy, entropy(result.mean))
    estimate = result.predictive_entropy - result.mutual_information
    assert bool(((estimate - expected_entropy).abs() <= bernstein(entropy_variance, math.log(3), n, comparisons)).all())
    assert result.mean.shape == (4, 3)
    assert result.predictive_entropy.shape == (4,)
    assert result.num_samples == n


@pytest.mark.parametrize("output", ["logits", "log_probabilities", "probabilities"])
def test_information_in_closed_form(output) -> None:
    """One dropped unit decides between two distributions; both entropies follow from how often it survived."""
    p, n = 0.25, 60
    log_a, log_b = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64).log()

    def decide(self: nn.Module, x: Tensor) -> Tensor:
        kept = (self.drop(x) > 0).double()
        log = kept * log_a + (1 - kept) * log_b
        return log.exp() if output == "probabilities" else log + 5.0 if output == "logits" else log

    result = monte_carlo(Calls(decide, drop=nn.Dropout(p)), torch.ones(2, 1).double(), n, output=output, seed=8)
    a, b = log_a.exp(), log_b.exp()
    kept = ((result.mean[:, :1] - b[0]) / (a[0] - b[0]) * n).round()
    mean = (kept * a + (n - kept) * b) / n
    torch.testing.assert_close(result.mean, mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(result.predictive_entropy, entropy(mean), rtol=1e-12, atol=0)
    expected = (kept * entropy(a[None]) + (n - kept) * entropy(b[None]))[:, 0] / n
    torch.testing.assert_close(result.mutual_information, entropy(mean) - expected, rtol=1e-10, atol=1e-14)
    assert_binomial(kept, n, 1 - p, 6)


def test_without_spread_there_is_no_information() -> None:
    model, x = small_classifier(), torch.randn(4, 3, dtype=torch.float64)
    result = monte_carlo(model, x, 20, 0.0)
    assert torch.equal(result.mutual_information, torch.zeros(4, dtype=torch.float64))
    assert torch.equal(result.std, torch.zeros(4, 3, dtype=torch.float64))
    torch.testing.assert_close(result.mean, model.eval()(x).detach().softmax(1))
    torch.testing.assert_close(result.predictive_entropy, entropy(result.mean))


def test_certain_classes_have_entropy_zero() -> None:
    model = Calls(lambda self, x: torch.log(self.drop(x).clamp(0, 1)), drop=nn.Dropout(0.0))
    result = monte_carlo(model, torch.tensor([[1.0, 0.0]]), 3, output="log_probabilities")
    assert torch.equal(result.predictive_entropy, torch.zeros(1))


def test_only_dropout_sees_training_mode() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.training)
            return x

    norm = nn.BatchNorm1d(4, eps=0.0)
    norm.running_mean.fill_(3.0)
    model = nn.Sequential(Spy(), norm, nn.RReLU(), nn.Dropout(0.5), Spy(), Functional(), TrainOnly()).train()
    result = monte_carlo(model, torch.full((2, 4), 7.0), 50, output="values", seed=4)
    assert seen
    assert not any(seen)
    scaled = result.mean.double() / (4 / 0.5 / (1 - P) ** 2)  # 7 - 3 survives all three, or nothing does
    assert float((scaled * 50 - (scaled * 50).round()).abs().max()) < 1e-3


def test_left_in_train_mode_in_part_changes_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)).eval()
    model[0].train()
    x = torch.randn(5, 4)
    mixed = monte_carlo(model, x, 10, output="values", seed=5)
    assert torch.equal(mixed.mean, monte_carlo(model.eval(), x, 10, output="values", seed=5).mean)


def test_pending_backward_is_not_disturbed() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    loss = model(torch.randn(5, 4)).square().sum()
    monte_carlo(model, torch.randn(5, 4), 10)
    loss.backward()
    assert model[1].weight.grad is not None


def test_attributes_and_buffers_come_back() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.drop = nn.Dropout(0.5)
            self.last = None

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.last = self.drop(x)
            return self.last

    model = Remembers()
    before = fingerprint(model)
    monte_carlo(model, torch.ones(2, 2), 5)
    assert fingerprint(model)[0][0][:3] == before[0][0][:3]
    assert fingerprint(model)[2:] == before[2:]
    assert model.last is None


def test_inputs_that_the_model_writes_into_come_back() -> None:
    model = Calls(lambda self, x: x.add_(self.drop(x)), drop=nn.Dropout(0.5))
    x = torch.ones(1, 4)
    result = monte_carlo(model, x, 20, output="values")
    assert torch.equal(x, torch.ones(1, 4))
    assert_binomial(((result.mean.double() - 1) * 10).round(), 20, 0.5)


@pytest.mark.parametrize("wrapped", [True, False])
def test_compiled_models_are_sampled_as_plain_ones(wrapped) -> None:
    plain, x = nn.Sequential(nn.Linear(4, 4), Functional()), torch.randn(2, 4)
    expected = monte_carlo(plain, x, 10, output="values")
    if wrapped:
        compiled = torch.compile(plain, backend="eager")
    else:
        compiled = plain
        plain.compile(backend="eager")
    assert torch.equal(monte_carlo(compiled, x, 10, output="values").mean, expected.mean)
    assert [site.name for site in find_dropout(compiled, x).sites] == ["1"]


def test_models_that_draw_by_themselves_are_seeded_too() -> None:
    def noisy(self: nn.Module, x: Tensor) -> Tensor:
        return self.drop(x) + torch.randn(2) + float(np.random.rand())  # noqa: NPY002

    model = Calls(noisy, drop=nn.Dropout(0.5))
    one, same, other = (monte_carlo(model, torch.ones(1, 2), 6, output="values", seed=s).mean for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", COUNTED)
def test_same_seed_same_result(name) -> None:
    model, x = COUNTED[name].make(), torch.ones(BATCH, UNITS)
    torch.manual_seed(1)
    one = monte_carlo(model, x, 30, output="values", seed=7)
    torch.manual_seed(2)
    same = monte_carlo(model, x, 30, output="values", seed=7)
    other = monte_carlo(model, x, 30, output="values", seed=8)
    assert torch.equal(one.mean, same.mean)
    assert torch.equal(one.std, same.std)
    assert not torch.equal(one.mean, other.mean)


def test_large_models_run_in_chunks_with_masks_of_their_own(monkeypatch) -> None:
    sizes = []
    samples = Sampler.samples
    monkeypatch.setattr(Sampler, "samples", lambda self, start, n: sizes.append(n) or samples(self, start, n))
    monkeypatch.setattr("dlwidgets.compute.dropout.sampling.CHUNK_BYTES", 4 * 4 * 64 * 30)
    result = monte_carlo(nn.Dropout(0.5), torch.ones(1, 64), 100, output="values", seed=2)
    assert sizes == [30, 30, 30, 10]
    assert_binomial((result.mean.double() * 50).round(), 100, 0.5)


@pytest.mark.parametrize("limit", [7, 1])
def test_memory_running_out_halves_the_chunk(monkeypatch, limit) -> None:
    mapped, sizes = Sampler._mapped, []

    def short_of_memory(self: Sampler, count: int, run: object) -> Tensor:
        sizes.append(count)
        if count > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return mapped(self, count, run)

    monkeypatch.setattr(Sampler, "_mapped", short_of_memory)
    model = nn.Dropout(0.5)
    before = fingerprint(model)
    result = monte_carlo(model, torch.ones(1, 50), 40, output="values", seed=2)
    assert max(size for size in sizes if size <= limit) <= limit < max(sizes) == 40
    assert_binomial((result.mean.double() * 20).round(), 40, 0.5, 100)
    assert fingerprint(model) == before


def test_a_gpu_gets_a_copy_of_what_lies_on_the_cpu(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(uncertainty, "choose_device", lambda _, dtype: asked.append(dtype) or torch.device("meta"))
    model = small_classifier()
    copied, (x, name) = uncertainty._on_gpu(model, (torch.ones(2, 3), "name"))
    assert asked == [torch.float64]
    assert {tensor.device.type for tensor in (*copied.parameters(), x)} == {"meta"}
    assert {tensor.device.type for tensor in model.parameters()} == {"cpu"}
    assert name == "name"
    model.lock = threading.Lock()  # cannot be copied
    assert uncertainty._on_gpu(model, torch.ones(2, 3)) is None
    assert uncertainty._on_gpu(copied, torch.ones(2, 3)) is None  # the user placed it


def test_a_gpu_without_enough_memory_leaves_it_to_the_cpu(monkeypatch) -> None:
    class TooLarge(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return x

    monkeypatch.setattr(uncertainty, "_on_gpu", lambda _, inputs: (TooLarge(0.5), inputs))
    result = monte_carlo(nn.Dropout(0.5), torch.ones(1, 3), 10, output="values", seed=1)
    monkeypatch.setattr(uncertainty, "_on_gpu", lambda *_: None)
    assert torch.equal(result.mean, monte_carlo(nn.Dropout(0.5), torch.ones(1, 3), 10, output="values", seed=1).mean)


def test_inputs_of_every_kind() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.drop = nn.Embedding(5, 4), nn.Dropout(0.5)

        def forward(self, ids: Tensor, mask: Tensor, scale: float = 1.0) -> Tensor:
            return self.drop(self.embed(ids) * mask[..., None] * scale).sum(1)

    model, ids, mask = Two(), torch.tensor([[0, 1], [2, 3]]), torch.tensor([[True, False], [True, True]])
    by_position = monte_carlo(model, (ids, mask), 10, output="values")
    by_name = monte_carlo(model, {"ids": ids, "mask": mask, "scale": 1.0}, 10, output="values")
    assert torch.equal(by_position.mean, by_name.mean)
    assert by_position.mean.shape == (2, 4)


@pytest.mark.parametrize(
    ("shape", "rest"), [((3,), ()), ((2, 3), (2,)), ((2, 3, 4, 5), (2, 4, 5)), ((2, 3, 1), (2, 1))]
)
def test_classes_are_on_axis_one(shape, rest) -> None:
    result = monte_carlo(nn.Dropout(0.5), torch.ones(shape), 5)
    assert result.mean.shape == shape
    assert result.predictive_entropy.shape == result.mutual_information.shape == rest
    torch.testing.assert_close(result.mean.sum(1 if len(shape) > 1 else 0), torch.ones(rest))


def test_outputs_without_a_batch_axis() -> None:
    scalar = Calls(lambda self, x: self.drop(x).sum(), drop=nn.Dropout(0.5))
    result = monte_carlo(scalar, torch.ones(8), 200, output="values")
    assert result.mean.shape == ()
    assert float(result.mean) * 200 / 2 == pytest.approx(round(float(result.mean) * 100))
    assert_binomial((result.mean.double() * 100).round(), 1600, 0.5)


def test_half_precision_and_single_samples() -> None:
    result = monte_carlo(nn.Dropout(0.5).to(torch.bfloat16), torch.ones(2, 3, dtype=torch.bfloat16), 5)
    assert result.mean.dtype == torch.float32
    assert bool(monte_carlo(nn.Dropout(0.5), torch.ones(2, 3), 1).std.isnan().all())


class Log:
    """A context that remembers and stops after some reports."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.fractions: list[float] = []
        self.stop_after = stop_after

    def report(self, fraction: float, text: str) -> None:
        assert text
        self.fractions.append(fraction)

    def cancelled(self) -> bool:
        return self.stop_after is not None and len(self.fractions) >= self.stop_after


def test_progress_and_stop(monkeypatch) -> None:
    monkeypatch.setattr("dlwidgets.compute.dropout.sampling.CHUNK_BYTES", 1)
    model, x = small_classifier(), torch.randn(2, 3).double()
    log = Log()
    monte_carlo(model, x, 5, context=log)
    assert log.fractions == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    before = fingerprint(model)
    with pytest.raises(Cancelled):
        monte_carlo(model, x, 5, context=Log(stop_after=2))
    assert fingerprint(model) == before


def test_a_model_can_be_given_dropout() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 2))
    before = fingerprint(model)[:4]
    copied = with_dropout(model, 0.25)
    assert [part.p for part in copied.modules() if isinstance(part, nn.Dropout)] == [0.25, 0.25]
    x = torch.randn(4, 3)
    assert torch.equal(copied.eval()(x), model(x))
    assert float(monte_carlo(copied, x, 20).std.min()) > 0
    assert fingerprint(model)[:4] == before
    assert (
        with_dropout(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Sigmoid()))[3].__class__
        is nn.Sigmoid
    )
    shared = nn.ReLU()
    assert len(list(with_dropout(nn.Sequential(shared, nn.Linear(2, 2), shared, nn.Linear(2, 2))).children())) == 4
    with pytest.raises(ValueError, match="no activation module"):
        with_dropout(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="probability must lie from 0 to 1, got 2"):
        with_dropout(model, 2)


def test_a_module_that_drops_in_training_mode_only_is_woken() -> None:
    result = monte_carlo(nn.Sequential(nn.Linear(4, 4), TrainOnly()), torch.ones(2, 4), 50, output="values")
    assert float(result.std.min()) > 0


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1.0, 1e170, 1e300])
def test_the_spread_of_any_size_of_output_is_kept(size) -> None:
    x = torch.ones(40, dtype=torch.float64)
    model = Calls(lambda _, value: F.dropout(value, 0.5, training=True) * size)
    plain = Calls(lambda _, value: F.dropout(value, 0.5, training=True))
    found, unit = (monte_carlo(each, x, num_samples=20, seed=3, output="values").std for each in (model, plain))
    found = found / size
    assert found.gt(0.5).all()
    torch.testing.assert_close(found, unit, rtol=1e-12, atol=0)
