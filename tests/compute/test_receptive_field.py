"""The receptive field engine: published facts, the public interface, whole layers at once."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlwidgets.compute.receptive_field import Field, Trace, effective_receptive_field, trace


class Function(nn.Module):
    """A function as a model."""

    def __init__(self, function: Any, **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def course_network() -> nn.Sequential:
    """Conv3 p1, pool 2, Conv5 s2 p2, pool 2, Conv7 d2 p3."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, 2, 2),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 7, dilation=2, padding=3),
    )


# Published facts


def test_course_network() -> None:
    net = trace(course_network(), (1, 3, 1024, 1024))
    assert net.layers[-1].output_shape == (1, 32, 122, 122)
    assert [layer.size for layer in net.layers] == [(n, n) for n in (3, 4, 12, 16, 112)]
    assert [layer.jump for layer in net.layers] == [(n, n) for n in (1, 2, 4, 8, 8)]
    assert net.layers[-1].padding == (29, 29)
    corner = net.field((0, 0))
    assert corner.box == ((3, 83), (3, 83))
    assert (corner.count, corner.status, corner.because) == (80 * 80, "exact", "")
    middle = net.field((61, 61))
    assert middle.box == ((8 * 61 - 29, 8 * 61 - 29 + 112),) * 2
    assert middle.count == 112**2
    sizes = net.size_map()
    assert sizes.shape == (122, 122, 2)
    assert sizes.dtype == torch.int64
    assert sizes[0, 0].tolist() == [80, 80]
    assert sizes[61, 61].tolist() == [112, 112]


@pytest.mark.parametrize(("num_layers", "size"), [(1, 3), (2, 7), (3, 15)])
def test_stride_only_multiplies_what_comes_later(num_layers: int, size: int) -> None:
    model = nn.Sequential(*(nn.Conv2d(1, 1, 3, 2) for _ in range(num_layers)))
    assert trace(model, (1, 1, 64, 64)).layers[-1].size == (size, size)


def vgg16() -> nn.Sequential:
    """The convolutional part of VGG-16."""
    layers: list[nn.Module] = []
    for num_convolutions in (2, 2, 3, 3, 3):
        layers += [layer for _ in range(num_convolutions) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(True))]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def test_vgg16_has_its_published_size() -> None:
    net = trace(vgg16(), (1, 3, 256, 256))
    assert net.layers[-1].size == (212, 212)
    assert net.layers[-2].size == (196, 196)
    assert net.field((4, 4)).box == ((4 * 32 - 90, 4 * 32 + 122),) * 2


def resnet(num_blocks: tuple[int, ...], stride_in_first: bool) -> nn.Sequential:
    """A bottleneck ResNet's stages, narrow; the stride in the 1x1 or in the 3x3 convolution."""
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    for stage, num in enumerate(num_blocks):
        for block in range(num):
            stride = 2 if stage and not block else 1
            first, second = (stride, 1) if stride_in_first else (1, stride)
            body = nn.Sequential(
                nn.Conv2d(4, 4, 1, first),
                nn.ReLU(),
                nn.Conv2d(4, 4, 3, second, 1),
                nn.BatchNorm2d(4),
                nn.Conv2d(4, 4, 1),
            )
            shortcut = nn.Conv2d(4, 4, 1, stride) if stride > 1 else nn.Identity()
            layers.append(Function(lambda m, x: F.relu(m.body(x) + m.shortcut(x)), body=body, shortcut=shortcut))
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize(
    ("num_blocks", "stride_in_first", "size"),
    [((3, 4, 6, 3), True, 483), ((3, 4, 6, 3), False, 427), ((3, 4, 23, 3), True, 1027), ((3, 8, 36, 3), True, 1507)],
)
def test_resnets_have_their_published_sizes(num_blocks: tuple[int, ...], stride_in_first: bool, size: int) -> None:
    net = trace(resnet(num_blocks, stride_in_first), (1, 3, 224, 224))
    last = [layer for layer in net.layers if layer.kind == "Conv2d"][-1]
    name = f"{1 + sum(num_blocks)}"
    assert max(layer.size for layer in net.layers) == (size, size)
    assert last.jump == (32, 32)
    assert net.field((3, 3), layer=name).status == "exact"


def test_mobilenet_has_its_published_size() -> None:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3, 2, 1)]
    for stride in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1):
        layers += [nn.Conv2d(4, 4, 3, stride, 1, groups=4), nn.ReLU6(), nn.Conv2d(4, 4, 1)]
    assert trace(nn.Sequential(*layers), (1, 3, 224, 224)).layers[-1].size == (315, 315)


def test_dilation_leaves_holes() -> None:
    found = trace(nn.Conv2d(1, 1, 3, dilation=2), (1, 1, 9, 9)).field((2, 2))
    assert found.box == ((2, 7), (2, 7))
    assert found.count == 9


@pytest.mark.parametrize(
    ("model", "size", "jump", "padding"),
    [
        (nn.ConvTranspose1d(1, 1, 4, 2, 1), 2.5, 0.5, 1),
        (nn.Upsample(scale_factor=2, mode="nearest"), 1, 0.5, 0.25),
        (nn.Conv1d(1, 1, 3, padding=1, padding_mode="reflect"), 3, 1, 1),
        (nn.Conv1d(1, 1, 3, padding=1, padding_mode="replicate"), 3, 1, 1),
        (nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"), 3, 1, 1),
        (nn.Sequential(nn.Conv1d(1, 1, 3, 2), nn.ConstantPad1d((2, 0), 0.0)), 3, 2, 4),
        (nn.AdaptiveAvgPool1d(4), 3, 3, 0),
        (nn.AdaptiveAvgPool1d(1), None, None, None),
        (nn.Linear(12, 5), None, None, None),
        (nn.Softmax(2), None, None, None),
    ],
)
def test_sizes_without_edges(model: nn.Module, size: Any, jump: Any, padding: Any) -> None:
    layer = trace(model, (1, 1, 12)).layers[-1]
    assert (layer.size, layer.jump, layer.padding) == ((size,), (jump,), (padding,))


# The public interface


def test_layers_are_calls_in_order() -> None:
    shared = nn.Conv1d(1, 1, 3)
    net = trace(nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared, nn.Tanh())), (1, 1, 9))
    assert [(layer.name, layer.call, layer.kind) for layer in net.layers] == [
        ("0", 0, "Conv1d"),
        ("1", 0, "ReLU"),
        ("0", 1, "Conv1d"),
        ("2.1", 0, "Tanh"),
    ]
    assert net.field((0,), layer="0").count == 5
    assert net.field((0,), layer=("0", 0)).count == 3
    assert net.field((0,), layer=0).count == 3
    assert net.field((0,), layer=-1).count == 5
    assert net.field((0,), layer="2").count == 5


def test_negative_units_and_axes_count_from_the_end() -> None:
    net = trace(nn.Conv2d(1, 1, (3, 1)), (1, 1, 7, 4), axes=(-1, -2))
    found = net.field((-1, -2), output_axes=(-1, -2))
    assert found.box == ((3, 4), (3, 6))
    assert net.projection((-1, -1), output_axes=(-1, -2)).box == ((3, 4), (4, 5))


def test_channels_may_see_different_things() -> None:
    model = Function(lambda m, x: torch.cat([x, m.conv(x)], 1), conv=nn.Conv1d(1, 2, 5, padding=2))
    net = trace(model, (1, 1, 9))
    assert [net.field((4,), channel=channel).count for channel in (0, 1, 2, -1, None)] == [1, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("function", "status", "because"),
    [
        (lambda m, x: m.conv(x), "exact", ""),
        (lambda m, x: x.mean((2,), keepdim=True), "exact", "mean"),
        (lambda m, x: x.softmax(1), "exact", ""),
        (lambda m, x: x * x[0, 0, 1].item(), "bound", "_local_scalar_dense"),
        (lambda m, x: x[x > 0].sum().expand(1, 1, 4), "bound", "index"),
    ],
)
def test_status_names_the_op_responsible(function: Any, status: str, because: str) -> None:
    net = trace(Function(function, conv=nn.Conv1d(1, 1, 3)), torch.arange(8.0).reshape(1, 1, 8))
    found = net.field((0,))
    assert (found.status, found.because) == (status, because)


def test_nothing_read() -> None:
    found = trace(Function(lambda m, x: torch.ones(1, 1, 4) + 0.0 * x), (1, 1, 4)).field((2,))
    assert (found.box, found.count, found.status, found.because) == (None, 0, "exact", "")
    assert not found.mask.any()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"unit": 3}, TypeError),
        ({"unit": (1.0, 2)}, TypeError),
        ({"unit": (1,)}, ValueError),
        ({"unit": (8, 0)}, ValueError),
        ({"unit": (0, -9)}, ValueError),
        ({"unit": (0, 0), "layer": "missing"}, ValueError),
        ({"unit": (0, 0), "layer": ("", 5)}, ValueError),
        ({"unit": (0, 0), "layer": 9}, ValueError),
        ({"unit": (0, 0), "layer": 1.0}, TypeError),
        ({"unit": (0, 0), "channel": 2}, ValueError),
        ({"unit": (0, 0), "channel": "red"}, TypeError),
        ({"unit": (0, 0), "output_axes": (2, 7)}, ValueError),
        ({"unit": (0, 0), "output_axes": 2}, TypeError),
    ],
)
def test_refusals_name_the_argument(arguments: dict[str, Any], kind: type[Exception]) -> None:
    net = trace(nn.Conv2d(1, 2, 3, padding=1), (1, 1, 8, 8))
    with pytest.raises(kind, match=list(arguments)[-1]):
        net.field(**arguments)


def test_a_model_that_cannot_run_tells_why() -> None:
    with pytest.raises(ValueError, match="cannot run on example of shape") as refused:
        trace(nn.Linear(3, 3), (1, 4))
    assert isinstance(refused.value.__cause__, RuntimeError)


# All units at once


def two_branches() -> nn.Module:
    """A strided residual block whose branches leave different holes."""
    return Function(
        lambda m, x: m.a(x) + m.b(x), a=nn.Conv2d(1, 1, 3, 2, 2, dilation=2), b=nn.Conv2d(1, 1, (1, 5), 2, (0, 2))
    )


WHOLE_LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv2d(1, 2, 3, 2, 1), (1, 1, 7, 9)),
    (two_branches(), (1, 1, 9, 8)),
    (nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2), nn.Upsample(scale_factor=2, mode="bilinear")), (1, 1, 7, 7)),
    (Function(lambda m, x: x.transpose(2, 3).roll(1, 2)), (1, 1, 4, 5)),
    (Function(lambda m, x: x.reshape(1, 1, 2, 10)), (1, 1, 4, 5)),
    (Function(lambda m, x: torch.cat([x[..., :2], x.flip(3)[..., :3]], 3)), (1, 1, 4, 5)),
    (Function(lambda m, x: x + x.mean(2, keepdim=True)), (1, 1, 4, 5)),
    (Function(lambda m, x: x.masked_fill(torch.eye(5, dtype=torch.bool), 0.0)), (1, 1, 5, 5)),
    (nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 4, 2, groups=4)), (1, 1, 6, 6)),
    (nn.Sequential(nn.Conv1d(1, 1, 3), nn.Flatten(1), nn.Linear(5, 3)), (1, 1, 7)),
]


@pytest.mark.parametrize(("model", "shape"), WHOLE_LAYERS, ids=range(len(WHOLE_LAYERS)))
def test_whole_layers_repeat_what_single_units_say(model: nn.Module, shape: tuple[int, ...]) -> None:
    net = trace(model, shape)
    for layer in [None, *range(len(net.layers))]:
        check_whole_layer(net, layer)


def check_whole_layer(net: Trace, layer: int | None) -> None:
    """Products, projections, boxes and sizes of a layer against the field of each of its units."""
    sizes = net.target(layer).sizes
    fields = {unit: net.field(unit, layer=layer) for unit in product(*map(range, sizes))}
    terms = net.products(layer)
    size_map, boxes = net.size_map(layer), net.boxes(layer)
    for unit, found in fields.items():
        expected = [list(pair) for pair in found.box] if found.box else [[0, 0]] * len(net.axes)
        assert boxes[unit].tolist() == expected
        assert size_map[unit].tolist() == [stop - start for start, stop in expected]
        if terms is not None:
            assert np.array_equal(mask_of(terms, unit, net.input_sizes), found.mask.numpy())
    for pixel in product(*map(range, net.input_sizes)):
        seen = net.projection(pixel, layer=layer)
        expected_mask = torch.tensor([bool(found.mask[pixel]) for found in fields.values()]).reshape(sizes)
        assert torch.equal(seen.mask, expected_mask)
        assert seen.count == int(expected_mask.sum())


def mask_of(terms: Any, unit: tuple[int, ...], sizes: tuple[int, ...]) -> np.ndarray:
    """The union of products for one unit, put together position by position."""
    mask = np.zeros(sizes, dtype=bool)
    for position in product(*map(range, sizes)):
        mask[position] = any(
            all(rows[0 if axis is None else unit[axis]][at] for (axis, rows), at in zip(term, position, strict=True))
            for term in terms
        )
    return mask


def test_products_are_at_most_eight_and_cover_common_networks() -> None:
    for model, shape in (
        (course_network(), (1, 3, 128, 128)),
        (vgg16(), (1, 3, 64, 64)),
        (two_branches(), (1, 1, 9, 8)),
    ):
        net = trace(model, shape)
        for index in range(len(net.layers)):
            terms = net.products(index)
            assert terms is not None
            assert 1 <= len(terms) <= 8
    diagonal = Function(lambda m, x: x.masked_fill(torch.eye(12, dtype=torch.bool), 0.0))
    assert trace(diagonal, (1, 1, 12, 12)).products() is None


# The effective field


def test_effective_field_of_one_linear_layer_is_its_kernel() -> None:
    conv = nn.Conv2d(2, 1, 3, bias=False).double()
    found = effective_receptive_field(conv, torch.randn(4, 2, 7, 7, dtype=torch.float64), (1, 2))
    kernel = conv.weight.detach().abs().sum(1)[0]
    expected = torch.zeros(7, 7, dtype=torch.float64)
    expected[1:4, 2:5] = kernel / kernel.sum()
    assert torch.allclose(found.contribution, expected, atol=1e-12)
    assert found.num_inputs == 4
    ordered = sorted((kernel / kernel.sum()).flatten().tolist(), reverse=True)
    for share, area in found.areas.items():
        assert sum(ordered[:area]) >= share - 1e-12
        assert sum(ordered[: area - 1]) < share


def test_effective_field_is_the_mean_over_inputs() -> None:
    model = Function(lambda m, x: x * x.detach().abs())
    inputs = torch.tensor([[[1.0, 2, 3]], [[5.0, 0, 1]]], dtype=torch.float64)
    for unit in range(3):
        found = effective_receptive_field(model, inputs, (unit,))
        assert found.contribution.tolist() == [float(position == unit) for position in range(3)]
    both = effective_receptive_field(Function(lambda m, x: (x * x).sum(2, keepdim=True)), inputs, (0,))
    assert torch.allclose(both.contribution, torch.tensor([6.0, 2, 4], dtype=torch.float64) / 12)


def test_effective_field_lies_within_the_field() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, 2), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3, dilation=2)
    )
    model.eval()
    net = trace(model, (1, 1, 17, 17))
    for layer in ("0", "1", None):
        found = effective_receptive_field(model, torch.randn(3, 1, 17, 17), (1, 1), layer=layer, channel=1)
        assert not (found.contribution[~net.field((1, 1), layer=layer).mask] > 0).any()


def test_effective_field_without_gradient_is_zero() -> None:
    found = effective_receptive_field(Function(lambda m, x: x.sign()), torch.ones(2, 1, 4), (1,))
    assert found.contribution.tolist() == [0, 0, 0, 0]
    assert set(found.areas.values()) == {0}


def test_fields_are_plain_results() -> None:
    found = trace(nn.Conv1d(1, 1, 3), (1, 1, 5)).field((0,))
    assert isinstance(found, Field)
    assert found.mask.device.type == "cpu"
    with pytest.raises(AttributeError):
        found.count = 3  # type: ignore[misc]
