"""With and without a meter, training is bitwise the same, and nothing is left behind."""

import contextlib
from collections.abc import Iterator
from typing import Any

import gradient_flow_trainings as trainings
import pytest
import torch
from torch import nn
from torch.nn.modules import module as module_state
from torch.optim import optimizer as optimizer_state

from dlwidgets.compute.gradient_flow import Meter, watch


def global_hooks() -> list[Any]:
    """Every hook that torch keeps globally."""
    tables = [
        value for name, value in vars(module_state).items() if name.startswith("_global") and isinstance(value, dict)
    ]
    tables += [optimizer_state._global_optimizer_pre_hooks, optimizer_state._global_optimizer_post_hooks]
    return [hook for table in tables for hook in table.values()]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert global_hooks() == []
    torch._dynamo.reset()


def watched(meters: list[Meter], **options: Any) -> trainings.Watch:
    @contextlib.contextmanager
    def watching(model: nn.Module, optimizer: Any) -> Iterator[Meter]:
        with watch(model, optimizer, **options) as flow:
            meters.append(flow)
            yield flow

    return watching


@pytest.mark.parametrize("options", [{"every": 1}, {"budget": 0.01}], ids=["each", "budget"])
@pytest.mark.parametrize("name", trainings.TRAININGS)
def test_training_is_bitwise_the_same(name: str, options: dict[str, Any]) -> None:
    run = trainings.TRAININGS[name]
    bare = trainings.outcome(run, trainings.no_watch)
    torch._dynamo.reset()
    meters: list[Meter] = []
    seen = trainings.outcome(run, watched(meters, **options))
    assert meters[0].failure is None
    assert seen.bits.keys() == bare.bits.keys()
    assert [name for name in bare.bits if seen.bits[name] != bare.bits[name]] == []
    assert [name for name in bare.plain if seen.plain[name] != bare.plain[name]] == []
    g = meters[0].result()
    assert len(g.steps) > 0
    assert len(g.positions) > 0
    assert g.gradient_norm.shape == (len(g.steps), len(g.positions))
    assert g.update_ratio.shape == (len(g.steps), len(g.parameters))
