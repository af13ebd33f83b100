"""What the viewer looks at, by itself: examples, growth, selections, activations and stacks built by hand."""

import itertools
import random
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlwidgets.compute.context import Cancelled
from dlwidgets.compute.receptive_field import trace
from dlwidgets.compute.receptive_field.activations import activations, first_tensor, unit_picture
from dlwidgets.compute.receptive_field.example import Example, read_example
from dlwidgets.compute.receptive_field.growth import growth
from dlwidgets.compute.receptive_field.inspection import contribution_picture, inspect, plane_box
from dlwidgets.compute.receptive_field.selection import check, corresponding, existing, place_of
from dlwidgets.compute.receptive_field.stack import Row, build_stack, name_of, to_row, to_rows

# Examples


@pytest.mark.parametrize(
    ("model", "given", "shape", "is_image"),
    [
        (nn.Conv2d(3, 2, 3), None, (1, 3, 224, 224), True),
        (nn.Conv2d(5, 2, 3), None, (1, 5, 224, 224), True),
        (nn.ReLU(), (2, 3, 10, 20), (2, 3, 10, 20), True),
        (nn.ReLU(), torch.Size([1, 1, 4, 4]), (1, 1, 4, 4), True),
        (nn.ReLU(), (1, 3, 7), (1, 3, 7), False),
        (nn.Conv2d(3, 2, 3), torch.rand(1, 3, 6, 6), (1, 3, 6, 6), False),
        (nn.Conv2d(3, 2, 3), torch.rand(3, 6, 8), (1, 3, 6, 8), True),
        (nn.Conv2d(1, 2, 3), torch.rand(6, 8), (1, 1, 6, 8), True),
        (nn.Conv1d(3, 2, 3), torch.rand(1, 3, 8), (1, 3, 8), False),
        (nn.Conv2d(3, 2, 3), np.zeros((6, 8, 3), dtype=np.uint8), (1, 3, 6, 8), True),
        (nn.Conv2d(3, 2, 3), np.zeros((2, 3, 6, 8), dtype=np.float32), (2, 3, 6, 8), False),
        (nn.Conv2d(3, 2, 3), np.zeros((5000, 10), dtype=np.uint8), (1, 3, 1024, 2), True),
        (nn.Linear(3, 2), torch.rand(4, 3), (4, 3), False),
    ],
)
def test_everything_that_a_person_gives(model: nn.Module, given: Any, shape: tuple[int, ...], is_image: bool) -> None:
    example = read_example(model, given)
    assert tuple(example.arguments[0].shape) == shape
    assert (example.image is not None) == is_image
    assert (example.sizes is not None) == is_image


def test_an_example_takes_the_type_of_the_model() -> None:
    assert read_example(nn.Conv2d(3, 2, 3).double(), (1, 3, 8, 8)).arguments[0].dtype == torch.float64
    assert read_example(nn.Conv1d(3, 2, 3).half(), (1, 3, 8)).arguments[0].dtype == torch.float16


def test_an_example_is_the_same_every_time_and_moves_no_generator() -> None:
    state = torch.get_rng_state()
    first, second = read_example(nn.ReLU(), (1, 3, 9)), read_example(nn.ReLU(), (1, 3, 9))
    assert torch.equal(first.arguments[0], second.arguments[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_several_arguments_are_kept_and_the_first_may_take_an_image() -> None:
    tensor = torch.rand(1, 3, 4, 4, requires_grad=True)
    example = read_example(nn.ReLU(), (tensor, 3, "mode"), image=torch.ones(8, 8))
    assert example.arguments[1:] == (3, "mode")
    assert torch.equal(example.arguments[0], torch.ones(1, 3, 4, 4))
    assert not example.arguments[0].requires_grad
    assert example.with_sizes(5, 6).arguments[0].shape == (1, 3, 5, 6)
    with pytest.raises(ValueError, match="no batch of images"):
        Example((torch.zeros(1, 3),)).with_image(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="only an image can be resized"):
        Example((torch.zeros(1, 3, 4, 4),)).with_sizes(3, 3)
    with pytest.raises(ValueError, match=r"size is \(0, 3\)"):
        example.with_sizes(0, 3)


# Growth


def layers(*sizes: Any, jumps: Any = None) -> list[Any]:
    jumps = jumps or [(1, 1)] * len(sizes)
    return [SimpleNamespace(size=size, jump=jump) for size, jump in zip(sizes, jumps, strict=True)]


def not_asked(index: int) -> Any:
    raise AssertionError(f"layer {index} has a size: there is nothing to measure")


def test_growth_names_the_largest_step_and_what_exceeds_the_input() -> None:
    found = growth(layers((3, 3), (12, 9), (16, 40), jumps=[(1, 1), (2, 4), (8, 8)]), (32, 32), not_asked)
    assert found.size.tolist() == [3, 12, 40]
    assert found.jump.tolist() == [1, 4, 8]
    assert found.exceeds.tolist() == [False, False, True]
    assert (found.most, found.step) == (2, 28)
    assert found.known.all()


def test_a_branch_grows_from_what_ran_before_it() -> None:
    found = growth(layers((9, 9), (3, 3), (11, 11)), (32, 32), not_asked)
    assert (found.most, found.step) == (0, 8)


@pytest.mark.parametrize(("extents", "whole"), [((20, 30), True), ((20, 29), False)])
def test_a_layer_without_a_size_is_measured(extents: Any, whole: bool) -> None:
    found = growth(layers((3, 3), (None, None), jumps=[(1, 1), (None, None)]), (20, 30), lambda _: extents)
    assert found.size.tolist() == [3, max(extents)]
    assert found.known.tolist() == [True, False]
    assert found.exceeds.tolist() == [False, whole]
    assert np.isnan(found.jump[1])
    assert found.most == 1


@pytest.mark.parametrize("sizes", [(), ((1, 1), (1, 1))])
def test_nothing_that_grows(sizes: Any) -> None:
    found = growth(layers(*sizes), (8, 8), not_asked)
    assert found.most is None
    assert found.step == 0


# Selections


def course() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 2, 3)))


def test_a_place_is_found_by_every_way_of_naming_a_layer() -> None:
    net = trace(course(), (1, 3, 16, 16))
    assert place_of(net, 0, None).name == ("0", 0)
    assert place_of(net, "0", None).index == 0
    assert place_of(net, ("1.0", 0), None).index == 1
    assert place_of(net, ["1.0", 0], None).sizes == (8, 8)
    assert place_of(net, -1, None).index == 2
    assert place_of(net, None, None).index == 2  # the layer that gave the output
    assert place_of(net, None, None).name is None
    inner = place_of(net, "1", None)  # a module that is made of layers
    assert (inner.name, inner.sizes, inner.num_channels) == (("1", None), (6, 6), 2)


def test_selections_are_checked_and_counted_from_the_start() -> None:
    net = trace(course(), (1, 3, 16, 16))
    assert check("unit", (-1, 0), net, 0, None) == (15, 0)
    assert check("unit", None, net, None, None) == (3, 3)
    assert check("channel", -1, net, 0, None) == 3
    assert check("pixel", [3, -1], net, 0, None) == (3, 15)
    assert check("pixel", None, net, 0, None) is None
    assert check("layer", ["0", 0], net, None, None) == ("0", 0)
    assert existing(net, "nowhere", (2, 3), 1, (0, 15), None) == (None, (2, 3), 1, (0, 15))
    assert existing(net, 0, (99, 99), 99, (16, 0), None) == (0, None, None, None)


@pytest.mark.parametrize(("old", "new"), list(itertools.product([1, 2, 3, 7, 24, 224], repeat=2)))
def test_the_corresponding_unit_lies_at_the_same_place(old: int, new: int) -> None:
    for at in range(old):
        (found,) = corresponding((at,), (old,), (new,))
        assert 0 <= found < new
        middle, place = (at + 0.5) / old, (found + 0.5) / new
        assert abs(middle - place) <= 0.5 / new + 1e-12
    assert corresponding((0, 0), (4, 4), (6,)) == (3,)


# Activations


class Mixed(nn.Module):
    """One module called twice, an output in a dict, and a random layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"none": None, "out": [self.drop(self.conv(self.conv(x)))]}


def test_activations_are_those_of_the_model_and_nothing_is_drawn() -> None:
    model, x = Mixed().eval(), torch.rand(2, 3, 6, 7)
    hooks = len(torch.nn.modules.module._global_forward_hooks)
    state = torch.get_rng_state()
    found = activations(model.train(), (x,), lambda num_dims: tuple(range(2, num_dims)))
    one = activations(model, (x,), lambda num_dims: tuple(range(2, num_dims)), wanted=("conv", 0))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(torch.nn.modules.module._global_forward_hooks) == hooks
    with torch.no_grad():
        first = model.conv(x)[0]
        second = model.conv(model.conv(x))[0]
    assert torch.allclose(found["conv", 0], first.mean(0))
    assert torch.allclose(found["conv", 1], second.mean(0))
    assert set(found) == {("conv", 0), ("conv", 1), ("drop", 0), ("", 0), None}
    assert set(one) == {("conv", 0)}
    assert torch.allclose(one["conv", 0], first)


class Drawing(nn.Module):
    """Draws from every global generator, and lets others draw meanwhile."""

    def __init__(self, *draws: Any, meanwhile: Any = None) -> None:
        super().__init__()
        self.draws, self.meanwhile = draws, meanwhile

    def forward(self, x: Tensor) -> Tensor:
        if self.meanwhile is not None:
            thread = threading.Thread(target=self.meanwhile)
            thread.start()
            thread.join()
        for draw in self.draws:
            draw()
        return x + 1


def states() -> Any:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(3),
        lambda: nn.functional.dropout(torch.ones(3), 0.5),
        lambda: torch.ones(3).bernoulli_(),
        lambda: random.random(),
        lambda: random.shuffle([1, 2, 3]),
        lambda: np.random.rand(2),  # noqa: NPY002
        lambda: np.random.permutation(3),  # noqa: NPY002
    ],
)
def test_what_a_forward_draws_is_taken_back(draw: Any) -> None:
    before = states()
    activations(Drawing(draw), (torch.zeros(1, 3, 4, 4),), lambda num_dims: tuple(range(2, num_dims)))
    assert states() == before


def test_what_a_cell_draws_meanwhile_stays() -> None:
    def cell() -> None:
        torch.manual_seed(123)
        random.seed(123)
        np.random.seed(123)  # noqa: NPY002

    cell()
    wanted = states()
    torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002
    x = torch.zeros(1, 3, 4, 4)
    activations(Drawing(meanwhile=cell), (x,), lambda num_dims: tuple(range(2, num_dims)))
    assert states() == wanted


def test_a_picture_is_one_plane_of_an_activation() -> None:
    volume = torch.arange(24.0).reshape(2, 3, 4)  # positions: 2 planes, 3 rows, 4 columns
    assert torch.equal(unit_picture(volume, None, (1,), (2, 3, 4)), volume[1])
    channels = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(unit_picture(channels, 1, (), (3, 4)), channels[1])
    assert torch.equal(unit_picture(channels, None, (), (3, 4)), channels.mean(0))
    assert unit_picture(torch.arange(5.0), None, (), (5,)).shape == (1, 5)
    assert unit_picture(torch.tensor(2.0), None, (), ()).tolist() == [[2.0]]
    assert unit_picture(None, None, (), (3, 4)).tolist() == torch.zeros(3, 4).tolist()


def test_the_first_tensor_of_nested_outputs() -> None:
    tensor = torch.zeros(1)
    assert first_tensor({"a": None, "b": [(), (tensor, torch.ones(1))]}) is tensor
    assert first_tensor(([], {}, 3)) is None


# Looking


def test_the_table_is_the_field_of_every_unit() -> None:
    model = course()
    inspection, look = inspect(model, read_example(model, (1, 3, 16, 16)), layer=1)
    assert look.table is not None
    for unit in np.ndindex(*look.sizes):
        mask = np.zeros(look.input_sizes, dtype=bool)
        for term in look.table:
            rows, columns = (matrix[unit[axis] if axis >= 0 else 0] for axis, matrix in term)
            mask |= rows[:, None] & columns[None, :]
        assert np.array_equal(mask, inspection.net.field(unit, layer=1).mask.numpy())
    assert look.title == "layer 1.0 (MaxPool2d)"
    assert look.outside == (1, 1, 1, 1)


def test_what_does_not_exist_is_refused_or_replaced() -> None:
    model = course()
    example = read_example(model, (1, 3, 16, 16))
    for wrong in ({"layer": "nowhere"}, {"unit": (99, 0)}, {"channel": 99}):
        with pytest.raises(ValueError, match=str(next(iter(wrong.values()))).split(",")[0].strip("()")):
            inspect(model, example, **wrong)
        inspection, look = inspect(model, example, strict=False, **wrong)
        assert (inspection.layer, look.unit, look.channel) == (None, (3, 3), None)


def test_an_inspection_can_be_cancelled() -> None:
    class Stopped:
        def report(self, fraction: float, text: str) -> None:
            """Nobody listens."""

        def cancelled(self) -> bool:
            return True

    with pytest.raises(Cancelled):
        inspect(course(), read_example(course(), (1, 3, 16, 16)), context=Stopped())


def test_contributions_as_a_picture() -> None:
    effective = SimpleNamespace(contribution=torch.tensor([[0.0, 0.9], [0.09, 9e-9]], dtype=torch.float64))
    assert torch.equal(contribution_picture(effective, (), False), effective.contribution)  # type: ignore[arg-type]
    log = contribution_picture(effective, (), True)  # type: ignore[arg-type]
    assert torch.allclose(log, torch.tensor([[-6.0, 0.0], [-1.0, -6.0]], dtype=torch.float64))
    line = SimpleNamespace(contribution=torch.tensor([0.0, 0.0]))
    assert contribution_picture(line, (), True).tolist() == [[-6, -6]]  # type: ignore[arg-type]
    volume = SimpleNamespace(contribution=torch.rand(3, 4, 5))
    assert torch.equal(contribution_picture(volume, (2,), False), volume.contribution[2])  # type: ignore[arg-type]


def test_the_box_of_a_field_on_the_picture() -> None:
    net = trace(nn.Conv1d(1, 1, 3), (1, 1, 9))
    assert plane_box(net.field((2,))).tolist() == [[0, 2, 1, 5, 0]]
    assert plane_box(SimpleNamespace(box=None)).shape == (0, 5)  # type: ignore[arg-type]


# Stacks


@pytest.mark.parametrize(
    ("spec", "row", "name"),
    [
        ({}, Row(3), "conv 3"),
        ({"kernel_size": 5, "stride": 2, "padding": 2}, Row(5, 2, 1, 2), "conv 5, stride 2, padding 2"),
        ({"pool": True}, Row(2, 2, pool=True), "pool 2"),
        ({"pool": True, "kernel_size": 3, "stride": 2}, Row(3, 2, pool=True), "pool 3, stride 2"),
        (nn.Conv2d(3, 8, 7, dilation=2, padding=(3, 3)), Row(7, 1, 2, 3), "conv 7, dilation 2, padding 3"),
        (nn.MaxPool2d(2), Row(2, 2, pool=True), "pool 2"),
        (nn.AvgPool2d(3, 1, 1), Row(3, 1, 1, 1, True), "pool 3, stride 1, padding 1"),
        (Row(9), Row(9), "conv 9"),
    ],
)
def test_a_row_is_read_from_what_describes_it(spec: Any, row: Row, name: str) -> None:
    assert to_row(spec) == row
    assert name_of(row) == name
    assert to_rows([spec]) == to_rows(nn.Sequential(spec) if isinstance(spec, nn.Module) else (spec,)) == (row,)


def test_a_stack_follows_the_rule_and_moves_no_generator() -> None:
    state = torch.get_rng_state()
    rows = to_rows([{}, {"stride": 2}, {"pool": True}, {"dilation": 3}])
    net = trace(build_stack(rows), (1, 1, 64, 64))
    assert torch.equal(torch.get_rng_state(), state)
    size = jump = 1
    for row, layer in zip(rows, net.layers, strict=True):
        size += (row.kernel_size - 1) * row.dilation * jump
        jump *= row.stride
        assert (layer.size, layer.jump) == ((size, size), (jump, jump))


def test_a_layer_that_moves_pixels_about_is_not_called_global() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.PixelShuffle(2), nn.AdaptiveAvgPool2d(1))
    inspection, _ = inspect(network, read_example(network, (1, 3, 12, 12)), layer=None)
    assert inspection.growth.known.tolist() == [True, False, False]
    assert inspection.growth.size.tolist() == [3, 3, 12]
    assert inspection.growth.exceeds.tolist() == [False, False, True]
