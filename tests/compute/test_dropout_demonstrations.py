"""What DropoutSimulator draws, against closed forms and masks counted one by one."""

import itertools
import math
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlwidgets.compute.context import Cancelled
from dlwidgets.compute.dropout import expected
from dlwidgets.compute.dropout.activations import ACTIVATIONS
from dlwidgets.compute.dropout.demonstrations import binomial, both_orders, in_a_row, scaling
from dlwidgets.compute.dropout.example import example_classifier
from dlwidgets.compute.dropout.masks import masked_feature_map, masked_units
from dlwidgets.compute.dropout.report import averaged, examine, likely_output, num_predictions, prediction
from dlwidgets.compute.dropout.rounding import rounded_range

chances = st.floats(0, 1)


# Masks


def test_the_mean_over_all_masks_is_the_eval_output_and_the_band_is_two_standard_errors() -> None:
    p, num_hidden = 0.3, 6
    neuron = masked_units(p, 50, num_hidden=num_hidden)
    # The output with a single hidden unit kept, from the draws themselves: outputs are sums of them.
    contributions = torch.linalg.lstsq(neuron.masks.double(), neuron.outputs.unsqueeze(1)).solution.squeeze(1)
    torch.testing.assert_close(neuron.masks.double() @ contributions, neuron.outputs)
    mean = square = 0.0
    for mask in itertools.product((0, 1), repeat=num_hidden):
        weight = math.prod((1 - p) if kept else p for kept in mask)
        output = sum(c for c, kept in zip(contributions.tolist(), mask, strict=True) if kept)
        mean += weight * output
        square += weight * output**2
    assert neuron.eval_output == pytest.approx(mean, rel=1e-9)
    assert neuron.standard_deviation == pytest.approx(math.sqrt(square - mean**2), rel=1e-9)
    for n in (1, 7, 50):
        margin = 2 * math.sqrt(square - mean**2) / math.sqrt(n)
        assert float(neuron.high[n - 1]) == pytest.approx(mean + margin, rel=1e-9)
        assert float(neuron.low[n - 1]) == pytest.approx(mean - margin, rel=1e-9)
        assert float(neuron.running_mean[n - 1]) == pytest.approx(sum(neuron.outputs[:n].tolist()) / n, rel=1e-12)


def test_the_network_is_the_same_for_every_setting_and_nothing_is_random_at_the_ends() -> None:
    none, half, all_of_them = (masked_units(p, 20, seed=seed) for p, seed in ((0.0, 0), (0.5, 1), (1.0, 2)))
    assert none.eval_output == half.eval_output == all_of_them.eval_output
    assert torch.equal(none.hidden, half.hidden)
    assert none.masks.all()
    assert not all_of_them.masks.any()
    torch.testing.assert_close(none.outputs, torch.full((20,), none.eval_output, dtype=torch.float64))
    assert not all_of_them.outputs.any()
    assert none.standard_deviation == all_of_them.standard_deviation == 0


def test_other_seeds_draw_other_masks() -> None:
    assert not torch.equal(masked_units(0.5, seed=0).masks, masked_units(0.5, seed=1).masks)


def test_cells_of_a_feature_map_are_dropped_alone_or_by_channels() -> None:
    cells, channels = masked_feature_map(0.4), masked_feature_map(0.4, whole_channels=True)
    assert (cells.whole_channels, channels.whole_channels) == (False, True)
    assert cells.hidden.shape == (4, 8, 8)
    assert cells.masks.shape == channels.masks.shape == (200, 4, 8, 8)
    by_channel = channels.masks.flatten(2)
    assert torch.equal(by_channel.all(2), by_channel.any(2))
    assert not torch.equal(cells.masks.flatten(2).all(2), cells.masks.flatten(2).any(2))
    # 4 unknown contributions from 200 outputs; then every one of the 16 masks weighed by its chance.
    kept = by_channel[:, :, 0].double()
    solution = torch.linalg.lstsq(kept, channels.outputs.unsqueeze(1)).solution.squeeze(1)
    torch.testing.assert_close(kept @ solution, channels.outputs)
    mean = square = 0.0
    for mask in itertools.product((0, 1), repeat=4):
        chance = math.prod(0.6 if survives else 0.4 for survives in mask)
        output = sum(c for c, survives in zip(solution.tolist(), mask, strict=True) if survives)
        mean, square = mean + chance * output, square + chance * output**2
    assert channels.eval_output == cells.eval_output == pytest.approx(mean)
    assert channels.standard_deviation == pytest.approx(math.sqrt(square - mean**2))
    assert cells.standard_deviation < channels.standard_deviation / 2
    # The output is a weighted sum over cells; with the same weights at p = 0 nothing is dropped or scaled.
    whole = masked_feature_map(0.0, 3)
    torch.testing.assert_close(whole.outputs, torch.full((3,), whole.eval_output, dtype=torch.float64))


@pytest.mark.parametrize("draw", [masked_units, masked_feature_map])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.99, 1.0])
def test_the_axis_shows_all_outputs(draw: Any, p: float) -> None:
    shown = draw(p)
    low, high = shown.output_range
    assert low <= min(*shown.outputs.tolist(), shown.eval_output)
    assert high >= max(*shown.outputs.tolist(), shown.eval_output)
    assert low <= float(shown.low[2])
    assert high >= float(shown.high[2])


finite = st.floats(-1e6, 1e6)


@given(finite, finite)
def test_round_ranges_enclose_and_are_not_much_wider(one: float, other: float) -> None:
    low, high = sorted((one, other))
    start, stop = rounded_range(low, high)
    assert start < stop
    slack = 1e-8 * max(1.0, abs(low), abs(high))
    assert start <= low + slack
    assert stop >= high - slack
    if high - low > 1e-6:
        assert stop - start <= 1.5 * (high - low) + slack


@pytest.mark.parametrize(
    ("ends", "expected_ends"),
    [((0, 0.21), (0, 0.25)), ((0, 1), (0, 1)), ((-0.3, 8.1), (-2, 10)), ((5, 5), (4, 6)), ((0, 4e-8), (0, 4e-8))],
)
def test_round_ranges(ends: tuple[float, float], expected_ends: tuple[float, float]) -> None:
    assert rounded_range(*ends) == pytest.approx(expected_ends)


# In a row


@given(st.lists(chances, min_size=1, max_size=4))
def test_survivors_of_a_row_are_binomial(p: list[float]) -> None:
    row = in_a_row(p, num_units=6, num_samples=10)
    keep = math.prod(1 - value for value in p)
    for kept in range(7):
        chance = sum(
            math.prod(keep if bit else 1 - keep for bit in bits)
            for bits in itertools.product((0, 1), repeat=6)
            if sum(bits) == kept
        )
        assert float(row.exact[kept]) == pytest.approx(chance, abs=1e-12)
    assert row.total == pytest.approx(sum(p))
    assert bool(row.added.isnan().all()) == (row.total > 1)
    assert float(row.in_a_row.sum()) == pytest.approx(1)
    assert float(row.single.sum()) == pytest.approx(1)
    assert row.largest >= max(
        float(each.nan_to_num().max()) for each in (row.in_a_row, row.single, row.exact, row.added)
    )


def test_both_experiments_agree_with_the_binomial_and_not_with_the_sum_of_the_probabilities() -> None:
    """Pearson's statistic over the bins that expect at least 5 masks, against a tail of 1e-9."""
    num_samples = 20_000
    row = in_a_row((0.4, 0.5), num_units=10, num_samples=num_samples)
    assert row.combined.probability == pytest.approx(0.7)

    def statistic(observed: torch.Tensor, chance: torch.Tensor) -> tuple[float, int]:
        enough = chance * num_samples >= 5
        difference = (observed - chance)[enough] * num_samples
        return float((difference**2 / (chance[enough] * num_samples)).sum()), int(enough.sum())

    for observed in (row.in_a_row, row.single):
        value, bins = statistic(observed, row.exact)
        assert value < bins + math.sqrt(2 * bins) * 6 + 40  # above the chi-squared quantile of 1 - 1e-9
        assert statistic(observed, row.added)[0] > 1000


def test_binomial_at_the_ends() -> None:
    assert binomial(3, 0.0).tolist() == [1, 0, 0, 0]
    assert binomial(3, 1.0).tolist() == [0, 0, 0, 1]


# Before or after


@given(st.sampled_from(sorted(ACTIVATIONS)), chances, st.integers(0, 5))
def test_orders_differ_exactly_where_the_activation_is_not_homogeneous(name: str, p: float, seed: int) -> None:
    orders = both_orders(name, p, num_units=9, seed=seed)
    f, scale = ACTIVATIONS[name], 1 / (1 - p) if p < 1 else 0.0
    scaled = orders.x * scale if orders.mask.any() else orders.x
    before = torch.where(orders.mask, f(scaled), f(torch.zeros(1, dtype=torch.float64)))
    after = torch.where(orders.mask, f(orders.x) * scale, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(orders.before, before)
    torch.testing.assert_close(orders.after, after)
    assert torch.equal(orders.difference, orders.before - orders.after)
    if name in ("identity", "relu", "leaky_relu", "abs"):
        assert orders.same
    if name == "sigmoid" and p > 0.01:
        assert not orders.same
        assert orders.dropped_before == 0.5
    assert float(orders.difference.abs().max()) <= orders.largest_difference + 1e-12
    low, high = orders.output_range
    outputs = torch.cat([orders.before, orders.after, orders.mean_before, orders.mean_after])
    assert low - 1e-9 <= float(outputs.min()) <= float(outputs.max()) <= high + 1e-9 * max(1, abs(high))
    assert orders.difference_range[0] - 1e-9 <= float(orders.difference.min())
    assert orders.difference_range[1] + 1e-9 * max(1, abs(high)) >= float(orders.difference.max())


def test_the_means_over_masks_are_exact() -> None:
    p = 0.25
    orders = both_orders("sigmoid", p)
    torch.testing.assert_close(orders.mean_after, torch.sigmoid(orders.x))
    torch.testing.assert_close(orders.mean_before, (1 - p) * torch.sigmoid(orders.x / (1 - p)) + p * 0.5)


# Scaling


@given(st.floats(0, 0.99), st.floats(-5, 5))
def test_scaling_keeps_the_mean_and_costs_variance(p: float, x: float) -> None:
    with_factor, without = scaling(p, True, x, num_samples=10), scaling(p, False, x, num_samples=10)
    assert with_factor.agrees
    assert without.agrees == (p * abs(x) < 1e-12 * max(1, abs(x)))
    assert with_factor.mean == pytest.approx(x, abs=1e-12)
    assert without.mean == pytest.approx((1 - p) * x, abs=1e-12)
    assert with_factor.variance == pytest.approx(x * x * p / (1 - p), rel=1e-9, abs=1e-12)
    assert without.variance == pytest.approx(x * x * p * (1 - p), rel=1e-9, abs=1e-12)
    assert without.sampled_mean == pytest.approx(with_factor.sampled_mean * (1 - p), rel=1e-9, abs=1e-12)
    assert with_factor.variance_interval[0] >= 0
    for curves in (with_factor, without):
        assert curves.largest_variance >= max(curves.variance_interval[1], float(curves.variances.max())) * (1 - 1e-9)


@pytest.mark.parametrize("scaled", [True, False])
def test_curves_are_what_is_expected_at_every_p(scaled: bool) -> None:
    curves = scaling(0.5, scaled, -1.5)
    unit = torch.tensor([-1.5], dtype=torch.float64)
    for p, mean, variance in zip(curves.probabilities, curves.means, curves.variances, strict=True):
        exact = expected(unit, float(p), "identity", scaled=scaled)
        assert float(mean) == pytest.approx(float(exact.mean))
        assert float(variance) == pytest.approx(float(exact.variance))


def test_curves_against_p() -> None:
    curves = scaling(0.5, True, 2.0)
    p = curves.probabilities
    torch.testing.assert_close(curves.variances, 4 * p / (1 - p))
    torch.testing.assert_close(curves.means, torch.full_like(p, 2.0))
    low, high = curves.mean_interval
    assert (high - low) / 4 == pytest.approx(2 * math.sqrt(1 / 100))  # x sqrt(p / (1 - p) / n)
    assert scaling(1.0, True).mean == 0


# Bad input


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: masked_units(1.5), ValueError, "probability must lie from 0 to 1, got 1.5"),
        (lambda: masked_units(0.5, 0), ValueError, "num_samples must be at least 1"),
        (lambda: in_a_row((0.1, math.nan)), ValueError, r"probabilities\[1\] must lie from 0 to 1, got nan"),
        (lambda: both_orders("relu", cast(Any, "half")), TypeError, "probability must be a number from 0 to 1"),
        (lambda: both_orders("step", 0.5), ValueError, "activation must be one of"),
        (lambda: scaling(-0.1), ValueError, "probability must lie from 0 to 1, got -0.1"),
    ],
)
def test_bad_numbers_are_refused(call: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()  # type: ignore[operator]


class Stopped:
    """A context that says stop."""

    def report(self, fraction: float, text: str) -> None:
        raise AssertionError("nothing is done")

    def cancelled(self) -> bool:
        return True


def test_a_stopped_job_draws_nothing() -> None:
    for function, args in (
        (masked_units, (0.5,)),
        (in_a_row, ((0.5,),)),
        (both_orders, ("relu", 0.5)),
        (scaling, (0.5,)),
    ):
        with pytest.raises(Cancelled):
            function(*args, context=Stopped())


# A model


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)).double().eval()


def test_the_report_has_the_prediction_without_dropout_beside_the_one_with() -> None:
    model, x = network(), torch.randn(5, 4, dtype=torch.float64)
    report = examine(model, x, 50)
    assert report.output == "logits"
    assert report.evaluation is not None
    torch.testing.assert_close(report.evaluation, model(x).softmax(1).detach())
    assert report.monte_carlo is not None
    assert report.monte_carlo.num_samples == 50
    assert num_predictions(report) == 5
    shown = prediction(report, 3)
    torch.testing.assert_close(shown.mean, report.monte_carlo.mean[3])
    torch.testing.assert_close(shown.high - shown.mean, torch.minimum(report.monte_carlo.std[3], 1 - shown.mean))
    torch.testing.assert_close(shown.mean - shown.low, torch.minimum(report.monte_carlo.std[3], shown.mean))
    assert shown.predictive_entropy == pytest.approx(float(report.monte_carlo.predictive_entropy[3]))  # type: ignore[index]
    assert shown.mutual_information == pytest.approx(float(report.monte_carlo.mutual_information[3]))  # type: ignore[index]


def test_a_report_without_inputs_or_without_dropout_has_no_prediction() -> None:
    report = examine(network())
    assert (len(report.dropouts.sites), report.monte_carlo, num_predictions(report)) == (1, None, 0)
    bare = examine(nn.Linear(2, 3), torch.zeros(1, 2))
    assert (bare.dropouts.sites, bare.monte_carlo) == ((), None)
    with pytest.raises(ValueError, match="index must be less than the number of predictions, 0; got 0"):
        prediction(report)


@pytest.mark.parametrize(
    ("last", "reading"),
    [
        (nn.Identity(), "logits"),
        (nn.Softmax(1), "probabilities"),
        (nn.LogSoftmax(1), "log_probabilities"),
        (nn.Linear(3, 1), "values"),
        (nn.Flatten(0), "logits"),
    ],
)
def test_outputs_are_read_by_their_look(last: nn.Module, reading: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), last)
    assert likely_output(model, torch.randn(2, 4)) == reading
    assert examine(model, torch.randn(2, 4), 5).output == reading


def test_pixels_are_averaged_and_many_classes_cut_to_the_largest() -> None:
    torch.manual_seed(1)
    report = examine(nn.Sequential(nn.Dropout(0.5), nn.Conv2d(2, 30, 1)), torch.randn(2, 2, 4, 5), 10)
    shown = prediction(report, 1, max_shown=7)
    assert report.monte_carlo is not None
    means = report.monte_carlo.mean[1].double().mean((1, 2))
    assert shown.num_positions == 20
    assert shown.num_outputs == 30
    assert set(shown.index.tolist()) == set(means.topk(7).indices.tolist())
    torch.testing.assert_close(shown.mean, means[shown.index])
    assert shown.mutual_information == pytest.approx(float(report.monte_carlo.mutual_information[1].double().mean()))  # type: ignore[index]


def test_values_are_not_cut_and_have_no_entropy() -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Dropout(0.5))
    shown = prediction(examine(model, torch.ones(3, 4), 40), 2)
    assert (len(shown.mean), shown.predictive_entropy, shown.mutual_information) == (1, None, None)
    assert float(shown.low) < float(shown.mean) < float(shown.high)


def test_the_example_learns_its_digits_and_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    model, inputs = example_classifier()
    again, _ = example_classifier()
    assert torch.equal(before, torch.random.get_rng_state())
    for one, other in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    report = examine(model, inputs)
    assert [site.flags for site in report.dropouts.sites] == [("before BatchNorm",), ()]
    assert report.evaluation is not None
    assert report.evaluation.argmax(1)[:9].tolist()[0] == 7
    assert float(report.evaluation[:9].amax(1).mean()) > 0.8
    assert report.monte_carlo is not None
    information = report.monte_carlo.mutual_information
    assert information is not None
    assert float(information[9]) > 2 * float(information[0])  # two digits at once


def test_curves_are_means_over_seeds() -> None:
    from dlwidgets.compute.dropout import sweep

    result = sweep((0.0, 0.5), num_train=50, num_seeds=2, num_epochs=3)
    curves = averaged(result)
    assert curves.num_seeds == 2
    torch.testing.assert_close(curves.train, (result.train_accuracy[:, 0] + result.train_accuracy[:, 1]) / 2)
    torch.testing.assert_close(curves.gap, curves.final_train - curves.final_validation)
