"""The laboratory says where its theory fails, which network is which, and what its pictures belong to."""

import dataclasses
from typing import Any

import pytest

from dlwidgets import GradientFlowMeter

LIMIT = 60.0


@pytest.fixture
def laboratory() -> Any:
    made = GradientFlowMeter.laboratory(
        {"depth": 6, "width": 16}, {"depth": 6, "width": 16, "activation": "tanh", "shared": True}
    )
    made.wait(LIMIT)
    yield made
    made.close()


def test_a_theory_that_fails_is_explained_by_what_was_measured(laboratory: Any) -> None:
    panel = laboratory.left
    assert "The theory takes" not in panel._words.value
    panel.configuration = {"activation": "tanh", "initialisation": "kaiming", "gain": 2.0, "depth": 6}
    panel.wait(LIMIT)
    profile = panel.result
    slopes = f"for a small signal, 1.00; at the units' own signals it is {profile.slope:.2f}"
    assert f"The theory takes the slope of tanh {slopes}, which makes {profile.factor_at_slope:.3f} per layer." in (
        panel._words.value
    )
    assert "beyond it" not in panel._words.value
    panel.configuration = {"activation": "relu", "initialisation": "kaiming", "shared": True, "width": 16}
    panel.wait(LIMIT)
    assert "slope of" not in panel._words.value
    assert "That is beyond it" in panel._words.value
    assert "one layer is used again and again" in panel._words.value


def test_each_network_is_named_by_what_sets_it_apart(laboratory: Any) -> None:
    left, right = laboratory.left, laboratory.right
    assert left._name.value == "<h4>Network A: activation sigmoid, a layer of its own at each depth</h4>"
    assert right._name.value == "<h4>Network B: activation tanh, one shared layer</h4>"
    right.configuration = {"depth": 8, "width": 16}
    assert left._name.value == "<h4>Network A: depth 6</h4>"
    assert right._name.value == "<h4>Network B: depth 8</h4>"
    left.configuration = {"depth": 8, "width": 16}
    assert left._name.value == "<h4>Network A</h4>"
    left.configuration = right.configuration = dataclasses.replace(left.configuration, shared=True)
    assert left._name.value == "<h4>Network A: one shared layer</h4>"


def test_a_training_that_was_stopped_says_so(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = laboratory.left
    monkeypatch.setattr("dlwidgets.widgets.gradient_flow_laboratory.STEPS", 1_000_000)
    took = panel._took_some_training

    def stop_after_one(training: Any) -> None:
        took(training)
        panel._stop()

    monkeypatch.setattr(panel, "_took_some_training", stop_after_one)
    panel.train()
    panel.wait(LIMIT)
    assert panel._training_words.value.endswith("It was stopped there.")
    monkeypatch.undo()
    panel.train()
    panel.wait(LIMIT)
    assert "stopped" not in panel._training_words.value


def test_filters_of_another_distance_are_not_shown(laboratory: Any) -> None:
    filters = laboratory.filters
    before = filters._words.value
    filters.closeness = 0.2
    assert filters._words.value == before, "nothing is trained yet"
    filters.train()
    filters.wait(LIMIT)
    trained = filters._words.value
    assert filters._row.layout.display is None
    assert trained.endswith("Full colour is a weight of ±1.2.")
    filters.closeness = 0.5
    assert filters._row.layout.display == "none"
    assert (
        filters._words.value == "These filters were trained for the distance 0.2: press “train both filters” for 0.5."
    )
    assert filters._description == filters._words.value
    filters.closeness = 0.2
    assert (filters._row.layout.display, filters._words.value) == (None, trained)
    filters.closeness = 0.5
    filters.train()
    filters.wait(LIMIT)
    assert filters._row.layout.display is None
    assert filters.result.closeness == 0.5
