"""DropoutSimulator without a browser: what it shows, sends and refuses, and that models stay as they are."""

import copy
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlwidgets.compute.dropout import expected, find_dropout, monte_carlo
from dlwidgets.compute.dropout.inputs_drawn import InputDrawn
from dlwidgets.widgets.dropout import TITLES, DropoutSimulator
from dlwidgets.widgets.dropout_in_a_row import InARow
from dlwidgets.widgets.dropout_input import InputPanel
from dlwidgets.widgets.dropout_masks import INPUT_HEIGHTS, NUM_HIDDEN, Masks
from dlwidgets.widgets.dropout_model import MAX_ROWS, YourModel
from dlwidgets.widgets.dropout_order import CHOICES, BeforeOrAfter
from dlwidgets.widgets.dropout_scaling import Scaling
from dlwidgets.widgets.dropout_sweep import DoesItHelp

LONG = 120.0


def network() -> nn.Sequential:
    """Two dropouts in a row, one before a batch normalisation, one that does nothing, one left on in eval mode."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Dropout(0.2),
        nn.Linear(8, 8),
        nn.BatchNorm1d(8),
        nn.Dropout(0.0),
        nn.Linear(8, 3),
        nn.Dropout(0.5),
    ).eval()
    model[8].train()
    return model


@pytest.fixture
def made(recorder: Any) -> Iterator[Any]:
    """Makes a section or a simulator, ready, with nothing recorded; closed after the test."""
    open_ones = []

    def make(kind: Any, *args: Any, **kwargs: Any) -> Any:
        widget = kind(*args, **kwargs)
        open_ones.append(widget)
        widget.wait(LONG)
        recorder.clear()
        return widget

    yield make
    for widget in open_ones:
        widget.close()


def senders(recorder: Any) -> list[str]:
    return [model for model, _, data in recorder.messages if data.get("method") == "update"]


def step(widget: Any, control: Any, recorder: Any, **state: Any) -> None:
    recorder.clear()
    recorder.send(control, **state)
    widget.wait(LONG)


# Masks


def path(line: Any) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True) if not math.isnan(y)]


def test_dropped_units_lose_their_node_and_their_edges(made: Any) -> None:
    masks = made(Masks)
    for sample in (1, 9, 200):
        masks.sample = sample
        mask = masks.result.masks[sample - 1].tolist()
        heights = np.linspace(0, 1, NUM_HIDDEN).tolist()
        assert path(masks._kept) == [(1.0, y) for y, kept in zip(heights, mask, strict=True) if kept]
        strokes = path(masks._dropped)  # two for each cross
        centers = np.array(strokes).reshape(-1, 2, 2).mean(1)
        gone = [y for y, kept in zip(heights, mask, strict=True) if not kept]
        np.testing.assert_allclose(centers, [(1.0, y) for y in gone for _ in range(2)])
        drawn = {frozenset(pair) for pair in pairwise(path(masks._edges))}
        inputs = [(0.0, y) for y in INPUT_HEIGHTS.tolist()]
        units = [(1.0, y) for y, kept in zip(heights, mask, strict=True) if kept]
        assert drawn == {frozenset((unit, other)) for unit in units for other in [*inputs, (2.0, 0.5)]}
        assert len(masks._running.x) == sample
        assert f"{mask.count(False)} of {NUM_HIDDEN} units dropped" in masks._words.value


def test_dropped_parts_of_feature_maps_are_hatched(made: Any, recorder: Any) -> None:
    masks = made(Masks)
    assert "dlw-hidden" in masks._map._dom_classes
    for kind, count, what in (("cells", 256, "cells"), ("channels", 4, "channels")):
        masks.kind = kind
        masks.wait(LONG)
        assert masks.error == ""
        assert "dlw-hidden" in masks._layer._dom_classes
        assert "dlw-hidden" not in masks._map._dom_classes
        for sample in (1, 7):
            masks.sample = sample
            mask = masks.result.masks[sample - 1]
            top, bottom = torch.cat([mask[0], mask[1]], 1), torch.cat([mask[2], mask[3]], 1)
            np.testing.assert_array_equal(np.isfinite(masks._raster.image), torch.cat([top, bottom]).numpy())
            dropped = int((~mask).sum()) // (256 // count)
            assert f"Mask {sample}: {dropped} of {count} {what} dropped" in masks._words.value
            there = mask[1].numpy()
            np.testing.assert_allclose(masks._raster.image[:8, 8:][there], masks.result.hidden[1][there], rtol=1e-6)
    step(masks, masks._controls[2], recorder, value=9)
    sent = {masks._controls[3], masks._raster, masks._running, masks._now, masks._words, masks}
    assert set(senders(recorder)) <= {widget.model_id for widget in sent}
    masks.kind = "units"
    masks.wait(LONG)
    assert "dlw-hidden" in masks._map._dom_classes


def test_the_running_mean_ends_in_its_band_and_resampling_changes_the_masks(made: Any) -> None:
    masks = made(Masks)
    low, high = masks._band.y
    assert np.all(np.diff(high - low) < 0)
    assert masks._eval.y[0] == pytest.approx(masks.result.eval_output)
    first = masks.result
    masks.seed += 1
    masks.wait(LONG)
    assert not torch.equal(first.masks, masks.result.masks)


# Two in a row


def test_the_equivalent_probability_and_the_wrong_answer_are_shown(made: Any) -> None:
    row = made(InARow)
    assert "q = 1 − (1 − 0.1)(1 − 0.2) = 0.28; survivors are scaled by 1.3889" in row._words.value
    assert "The sum of the probabilities would be 0.3" in row._words.value
    for histogram, shares in zip(row._histograms.y, (row.result.in_a_row, row.result.single), strict=True):
        assert histogram[::2].tolist() == histogram[1::2].tolist() == pytest.approx(shares.tolist())
    assert row._histograms.x[:4].tolist() == [-0.5, 0.5, 0.5, 1.5]
    row.probabilities = (0.6, 0.7, 0.5)
    row.wait(LONG)
    assert row.result.combined.probability == pytest.approx(1 - 0.4 * 0.3 * 0.5)
    assert "which is more than 1 and cannot be a probability" in row._words.value
    assert not row._added.visible
    row.probabilities = (0.5, 1.0)
    row.wait(LONG)
    assert "nothing survives" in row._words.value


def test_dropouts_are_added_and_removed(made: Any, recorder: Any) -> None:
    row = made(InARow)
    for count in (3, 4, 5, 6):
        recorder.send_custom(row._more, {"event": "click"})
        assert len(row.probabilities) == len(row._row_of_sliders.children) == count
    assert row._more.disabled
    for count in (5, 4, 3, 2, 1):
        recorder.send_custom(row._fewer, {"event": "click"})
        assert len(row.probabilities) == len(row._row_of_sliders.children) == count
    assert row._fewer.disabled
    row.wait(LONG)
    assert row.error == ""
    assert row.result.combined.probability == 0.1


# Before or after


@pytest.mark.parametrize("name", CHOICES.values())
def test_both_orders_are_drawn_with_their_difference(made: Any, name: str) -> None:
    section = made(BeforeOrAfter, activation=name)
    homogeneous = name in ("relu", "leaky_relu", "identity")
    orders = section.result
    np.testing.assert_allclose(section._stems.y[1::3], orders.before - orders.after, atol=1e-6)
    assert bool((np.abs(section._stems.y) > 1e-6).any()) != homogeneous
    assert ("no difference, for this mask or any other" in section._words.value) == homogeneous
    scale = section._stems.scales["y"]
    assert scale.min <= float(orders.difference.min()) <= float(orders.difference.max()) <= scale.max
    assert not homogeneous or (scale.min, scale.max) == pytest.approx((-1, 1))  # not the rounding blown up
    x = section.result.x
    for line, placement in ((section._mean_before, "before"), (section._mean_after, "after")):
        np.testing.assert_allclose(line.y, expected(x, 0.5, name, placement).mean, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]


def test_a_dropped_unit_before_a_sigmoid_is_one_half(made: Any) -> None:
    section = made(BeforeOrAfter)
    dropped = ~section.result.mask.numpy()
    after, crosses = np.array(path(section._after))[:, 1], np.array(path(section._before))[:, 1].reshape(-1, 4)
    assert after[dropped].tolist() == [0.0] * int(dropped.sum())
    assert crosses.mean(1)[dropped].tolist() == pytest.approx([0.5] * int(dropped.sum()))
    np.testing.assert_allclose(crosses.mean(1), section.result.before, atol=1e-6)
    assert "A dropped unit becomes f(0) = 0.5 instead of 0" in section._words.value


# Scaling


def test_means_are_together_with_the_factor_and_apart_without(made: Any, recorder: Any) -> None:
    section = made(Scaling)
    assert "together: 1 and 1" in section._words.value
    np.testing.assert_allclose(section._train.y, 1.0)
    recorder.send(section._controls[1], value=False)
    section.wait(LONG)
    assert section.scaled is False
    assert "apart: 0.5 and 1" in section._words.value
    np.testing.assert_allclose(section._train.y, 1 - section._train.x, atol=1e-6)
    np.testing.assert_allclose(section._variance.y, section._train.x * (1 - section._train.x), atol=1e-6)


# Messages


def test_a_slider_step_costs_each_mark_at_most_one_message(made: Any, recorder: Any) -> None:
    simulator = made(DropoutSimulator)
    for section, control, values in (
        (simulator.masks, simulator.masks._controls[1], (0.3, 0.6)),
        (simulator.in_a_row, simulator.in_a_row._sliders[1], (0.3, 0.4)),
        (simulator.order, simulator.order._controls[1], (0.3, 0.6)),
        (simulator.scaling, simulator.scaling._controls[0], (0.3, 0.6)),
    ):
        for value in values:
            step(section, control, recorder, value=value)
            sent = senders(recorder)
            assert section.error == ""
            assert sent.count(section.model_id) == 2  # busy; not busy any more, and the new description
            others = [model for model in sent if model != section.model_id]
            assert len(others) == len(set(others)), type(section).__name__
            assert simulator.model_id not in sent
            elsewhere = {each.model_id for each in simulator.sections if each is not section}
            assert not elsewhere & set(sent)
            updates = [data for _, _, data in recorder.packets if data.get("method") != "echo_update"]
            assert [data["method"] for data in updates] == ["update", "custom"]  # busy; everything else at once
    assert len(set(senders(recorder))) <= 7  # the section, its words, two bars, two dots, the scale


def test_stepping_through_masks_asks_for_no_computation_and_sends_only_what_changes(made: Any, recorder: Any) -> None:
    masks = made(Masks)
    before = masks.result
    step(masks, masks._controls[2], recorder, value=2)
    assert masks.sample == 2
    assert masks.result is before
    play = masks._controls[3]  # a page's link would otherwise set the slider back to where it began
    assert play.value == 2
    changed = {play, masks._edges, masks._kept, masks._dropped, masks._running, masks._now, masks._words, masks}
    assert set(senders(recorder)) <= {widget.model_id for widget in changed}
    assert len(senders(recorder)) == len(set(senders(recorder)))


# Your model


def test_dropouts_are_listed_with_what_is_odd_about_them(made: Any) -> None:
    section = made(YourModel, network(), torch.randn(3, 4))
    assert section.error == ""
    table = section._table.value.splitlines()[1:-1]
    assert len(table) == 1 + 4
    assert [re.findall("<td>(.*?)</td>", row)[0] for row in table[1:]] == ["2", "3", "6", "8"]
    assert "two in a row" in table[1]
    assert "before BatchNorm" in table[2]
    assert "p = 0" in table[3]
    assert "active in eval" in table[4]
    assert "In a row: 2, 3, together q = 0.28" in section._words.value


def test_the_prediction_is_the_one_of_monte_carlo(made: Any) -> None:
    model, x = network(), torch.randn(3, 4)
    section = made(YourModel, model, x)
    truth = monte_carlo(model, x, 100)
    section.index = 2
    assert section._bars.y.tolist() == pytest.approx(truth.mean[2].tolist(), abs=1e-6)
    mean, std = truth.mean[2].numpy(), truth.std[2].numpy()
    np.testing.assert_allclose(section._spread.y[:, 0], np.maximum(mean - std, 0), atol=1e-6)
    np.testing.assert_allclose(section._spread.y[:, 1], np.minimum(mean + std, 1), atol=1e-6)
    assert "Over 100 masks: predictive entropy" in section._words.value
    section.probability = 0.0
    section.wait(LONG)
    np.testing.assert_allclose(section._spread.y[:, 1], section._spread.y[:, 0], atol=1e-6)
    np.testing.assert_allclose(section._bars.y, section._eval.y, atol=1e-6)


def test_the_model_and_the_random_states_stay_as_they_are(made: Any) -> None:
    model, x = network(), torch.randn(3, 4)
    model[0].weight.grad = torch.ones(8, 4)
    before, modes = copy.deepcopy(model.state_dict()), [part.training for part in model.modules()]
    state = torch.random.get_rng_state()
    simulator = made(DropoutSimulator, model, x)
    simulator.model.probability = 0.9
    simulator.wait(LONG)
    assert simulator.error == ""
    assert torch.equal(state, torch.random.get_rng_state())
    assert [part.training for part in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(model[0].weight.grad, torch.ones(8, 4))
    assert [part.p for part in model if isinstance(part, nn.Dropout)] == [0.1, 0.2, 0.0, 0.5]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize(
    ("shape", "kind"), [((1, 6, 6), "image"), ((3, 6, 6), "image"), ((1, 60), "line"), ((6,), "bars")]
)
def test_the_input_is_drawn_beside_its_prediction(made: Any, shape: tuple[int, ...], kind: str) -> None:
    inputs = torch.rand(3, *shape)
    section = made(YourModel, nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(math.prod(shape), 3)), inputs)
    section.index = 2
    panel = section._input
    hidden = {name: "dlw-hidden" in getattr(panel, name)._dom_classes for name in ("box", "picture", "plot")}
    assert hidden == {"box": False, "picture": kind != "image", "plot": kind == "image"}
    assert panel.words.value == "input 3"
    drawn = inputs[2].squeeze(0).numpy()
    if kind != "image":
        assert (panel.lines.visible, panel.bars.visible) == (kind == "line", kind == "bars")
        np.testing.assert_allclose((panel.lines if kind == "line" else panel.bars).y, drawn)
    elif shape[0] == 1:
        np.testing.assert_allclose(panel.raster.image, drawn)
    else:
        np.testing.assert_array_equal(panel.raster.image, np.round(drawn * np.float32(255)).transpose(1, 2, 0))


def test_values_have_points_instead_of_bars(made: Any) -> None:
    section = made(YourModel, nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 1)), torch.randn(5, 4))
    assert section.result.output == "values"
    assert (section._bars.visible, section._mean.visible) == (False, True)
    assert section._figure.axes[1].label == "value"
    section.output = "logits"
    section.wait(LONG)
    assert "fewer than two classes" in section.error
    section.output = "values"
    section.wait(LONG)
    assert section.error == ""


def test_without_inputs_the_dropouts_are_listed_only(made: Any) -> None:
    simulator = made(DropoutSimulator, network())
    assert simulator.error == ""
    assert len(simulator.result.dropouts.sites) == 4
    assert "Give inputs as well" in simulator.model._words.value
    assert "dlw-hidden" in simulator.model._panel._dom_classes


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.zeros(0, 4), "The batch of inputs is empty"),
        (torch.full((2, 4), math.nan), "The model's prediction is NaN or infinite for this input"),
    ],
)
def test_inputs_without_a_prediction_are_named(made: Any, inputs: Tensor, words: str) -> None:
    section = made(YourModel, network(), inputs)
    assert section.error == ""
    assert words in section._words.value


def test_a_model_without_dropout_says_so_and_offers_to_add_it_to_a_copy(made: Any, recorder: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    section = made(YourModel, model, torch.randn(2, 4))
    assert "This model has no dropout" in section._words.value
    assert "dlw-hidden" not in section._add._dom_classes
    recorder.send_custom(section._add, {"event": "click"})
    section.wait(LONG)
    assert "1 dropout in the copy." in section._words.value
    assert section.result.monte_carlo is not None
    assert "dlw-hidden" in section._add._dom_classes
    assert find_dropout(model).sites == ()


def test_a_model_where_none_can_be_added_says_why(made: Any, recorder: Any) -> None:
    section = made(YourModel, nn.Linear(4, 3), torch.randn(2, 4))
    recorder.send_custom(section._add, {"event": "click"})
    assert "no activation module" in section.error


def test_names_are_shown_as_text_and_long_lists_are_cut(made: Any) -> None:
    model = nn.Sequential()
    model.add_module("<img onerror=alert(1)>\u202e", nn.Dropout(0.5))
    for index in range(MAX_ROWS + 5):
        model.add_module(f"drop{index}", nn.Dropout(0.1))
    section = made(YourModel, model, torch.randn(2, 4))
    table = section._table.value
    assert "&lt;img onerror=alert(1)&gt;\\u202e" in table
    assert "<img" not in table
    assert "\u202e" not in table
    assert table.splitlines()[-2] == '<tr><td colspan="4">and 6 more</td></tr>'


# Bad input


class FailsInTraining(nn.Module):
    """Its dropout cannot run."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("only for inference")
        return nn.functional.dropout(x, 0.5, self.training)


class Pair(nn.Module):
    """Returns no single tensor."""

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return nn.functional.dropout(x, 0.5, self.training), "text"


@pytest.mark.parametrize(
    ("args", "kind", "message"),
    [
        (("a model",), TypeError, "model must be a torch.nn.Module, got str"),
        ((network(), [1, 2]), TypeError, "inputs must be a tensor"),
        ((None, torch.zeros(1)), ValueError, "inputs were given without a model"),
    ],
)
def test_what_is_no_model_or_no_inputs_is_refused(
    recorder: Any, num_models: Any, args: Any, kind: type[Exception], message: str
) -> None:
    before = num_models()
    with pytest.raises(kind, match=message):
        DropoutSimulator(*args)
    assert num_models() <= before + 2  # a VBox that was never shown, and its layout


def test_unknown_keywords_are_refused_by_name(recorder: Any) -> None:
    with pytest.raises(TypeError, match=r"unknown argument 'colour'; valid names are: model, inputs, .*section"):
        DropoutSimulator(colour="red")


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (FailsInTraining(), torch.zeros(2, 3), "only for inference"),
        (Pair(), torch.zeros(2, 3), "tensor"),
        (network(), torch.zeros(2, 5), "the model fails on these inputs in eval mode"),
    ],
)
def test_a_model_that_fails_says_so_in_the_widget(made: Any, model: nn.Module, inputs: Tensor, message: str) -> None:
    simulator = made(DropoutSimulator, model, inputs)
    assert message in simulator.error
    assert simulator.model.error == simulator.error
    assert simulator.in_a_row.error == ""
    assert simulator.in_a_row.result is not None


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_probabilities_outside_are_refused_and_nothing_changes(made: Any, value: float) -> None:
    simulator = made(DropoutSimulator)
    for section in (simulator.masks, simulator.order, simulator.scaling, simulator.model):
        before = section.probability
        with pytest.raises(ValueError, match="probability must lie from 0 to 1"):
            section.probability = value
        assert section.probability == before
    with pytest.raises(ValueError, match=r"probabilities\[1\] must lie from 0 to 1"):
        simulator.in_a_row.probabilities = (0.5, value)
    assert simulator.in_a_row.probabilities == (0.1, 0.2)


def test_other_bad_choices_are_refused(made: Any) -> None:
    simulator = made(DropoutSimulator)
    for section, name, value, message in (
        (simulator.masks, "sample", 0, "sample must lie from 1 to 200"),
        (simulator.in_a_row, "probabilities", (0.1,) * 7, "probabilities must hold 1 to 6 numbers, got 7"),
        (simulator.model, "num_samples", 0, "num_samples must be at least 1"),
        (simulator.model, "index", 10, "index must be less than the number of inputs, 10"),
    ):
        with pytest.raises(ValueError, match=message):
            setattr(section, name, value)


# Does it help?


def test_the_experiment_shows_its_curves(made: Any) -> None:
    section = made(DoesItHelp)
    assert (section.result, section._controls[1].disabled) == (None, True)
    section.train()
    section.wait(LONG)
    assert section.error == ""
    curves = section.result
    none, half, most = (curves.probabilities.tolist().index(pytest.approx(p)) for p in (0.0, 0.5, 0.95))
    assert curves.gap[half] < curves.gap[none]
    assert curves.final_train[most] < curves.final_train[none] - 0.05
    section.choice = most
    np.testing.assert_allclose(section._train.y, curves.train[most])
    np.testing.assert_allclose(section._dots_validation.y, curves.final_validation)
    assert section._words.value.startswith("p = 0.95:")


def test_the_experiment_can_be_stopped(made: Any, recorder: Any) -> None:
    section = made(DoesItHelp)
    section.train()
    recorder.send_custom(section, {"type": "stop"})
    section.wait(LONG)
    assert (section.result, section.error) == (None, "")


# The whole


def test_tabs_and_the_section_trait_follow_each_other(made: Any, recorder: Any) -> None:
    simulator = made(DropoutSimulator, section="Scaling")
    assert simulator._tabs.selected_index == 3
    recorder.send(simulator._tabs, selected_index=1)
    assert simulator.section == "Two in a row"
    simulator.section = "Your model"
    assert simulator._tabs.selected_index == 4
    assert tuple(simulator._tabs.titles) == TITLES


def test_the_result_is_the_report_on_the_model(made: Any) -> None:
    simulator = made(DropoutSimulator)
    assert simulator.result is simulator.model.result
    assert len(simulator.result.dropouts.sites) == 2


def test_every_control_and_figure_has_a_name(made: Any) -> None:
    import bqplot
    import ipywidgets

    from dlwidgets.widgets.tree import walk

    simulator = made(DropoutSimulator)
    named = {model for each in (simulator, *simulator.sections) for model in each._labels}
    controls = (ipywidgets.widgets.widget_description.DescriptionWidget, ipywidgets.Button, bqplot.Figure)
    text = (ipywidgets.Label, ipywidgets.HTML)
    nameless = [
        widget
        for widget in walk(simulator)
        if isinstance(widget, controls) and not isinstance(widget, text) and widget.model_id not in named
    ]
    assert nameless == []


def test_closing_frees_every_model(recorder: Any, num_models: Any) -> None:
    before = num_models()
    simulator = DropoutSimulator(network(), torch.randn(2, 4))
    simulator.wait(LONG)
    simulator.close()
    assert num_models() == before


@pytest.mark.parametrize(("kind", "rows", "size"), [("line", 1, 64), ("line", 3, 64), ("bars", 1, 8)])
def test_the_unseen_mark_of_an_input_does_not_widen_the_axes(kind: str, rows: int, size: int) -> None:
    """bqplot lets marks that are not visible count, and gives a single bar the width of the axis."""
    panel = InputPanel()
    values = np.arange(rows * size, dtype=np.float32).reshape(rows, size)
    panel.show(InputDrawn(kind, torch.from_numpy(values), ""), 1)
    assert [panel.lines.visible, panel.bars.visible] == [kind == "line", kind == "bars"]
    for mark in (panel.lines, panel.bars):
        assert mark.x.tolist() == list(range(size))
        assert mark.y.shape[-1] == size
        assert values.min() <= mark.y.min()
        assert mark.y.max() <= values.max()
