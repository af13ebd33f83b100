"""ReceptiveFieldViewer without a browser: what it computes, sends and refuses, and that models stay as they are."""

import copy
import gc
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dlwidgets.compute.receptive_field import trace
from dlwidgets.widgets.receptive_field import OUTPUT, ReceptiveFieldViewer
from dlwidgets.widgets.receptive_field_strip import unique

LONG = 120.0


def course_network() -> nn.Sequential:
    """The network of the course's question: two convolutions and two poolings before a dilated convolution."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 3, padding=1),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 8, 5, stride=2, padding=2),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(8, 4, 7, dilation=2, padding=3),
        )
    )


@pytest.fixture
def viewer(recorder: Any) -> Any:
    made = ReceptiveFieldViewer(course_network(), (1, 3, 96, 96))
    made.wait(LONG)
    recorder.clear()
    yield made
    made.close()


# What it shows


def test_the_result_is_the_trace_and_the_field_follows_the_selection(viewer: ReceptiveFieldViewer) -> None:
    net = trace(course_network(), (1, 3, 96, 96))
    assert [(each.name, each.size, each.jump) for each in viewer.result.layers] == [
        (each.name, each.size, each.jump) for each in net.layers
    ]
    assert viewer.layer is None
    assert viewer.unit == (3, 3)  # the middle of 6 x 6
    for layer, unit, channel in (
        (None, (0, 0), None),
        ("conv2", (5, 7), 3),
        (1, (47, 0), None),
        (("pool2", 0), (1, 2), 0),
    ):
        viewer.layer = layer
        viewer.unit = unit
        viewer.channel = channel
        viewer.wait(LONG)
        expected = net.field(unit, layer=layer, channel=channel)
        assert torch.equal(viewer.field.mask, expected.mask)
        assert viewer.field.box == expected.box
        assert (viewer._pictures.units.selected, viewer.error) == (list(unit), "")
        viewer.channel = None


def test_what_the_browser_holds_is_the_field_of_every_unit(viewer: ReceptiveFieldViewer) -> None:
    viewer.layer = "pool2"
    viewer.wait(LONG)
    fields = viewer._pictures.map
    assert fields.mode == "products"
    assert fields.out_shape == [12, 12]
    assert fields.in_shape == [96, 96]
    for unit in ((0, 0), (5, 11), (11, 3)):
        mask = np.zeros((96, 96), dtype=bool)
        for row, column in fields.index.reshape(-1, 2, 2)[:, :, 1]:
            sets = []
            for axis, start in enumerate((row, column)):
                packed = fields.bits[start + unit[axis] * 12 : start + (unit[axis] + 1) * 12]
                sets.append(np.unpackbits(packed, bitorder="little")[:96].astype(bool))
            mask |= sets[0][:, None] & sets[1][None, :]
        assert np.array_equal(mask, viewer.result.field(unit, layer="pool2").mask.numpy())
    jump, size, padding = 8, 16, 5
    assert fields.windows.tolist() == [[0, jump, size, padding], [1, jump, size, padding]]
    assert viewer._pictures.input.outside == (5, 5, 3, 3)  # the last window ends at 11 * 8 - 5 + 16 = 99


def test_padding_around_the_input_is_shown_for_the_output_too(viewer: ReceptiveFieldViewer) -> None:
    assert viewer._pictures.map.windows.tolist() == [[0, 8, 112, 29], [1, 8, 112, 29]]
    assert viewer._pictures.input.outside == (24, 24, 24, 24)  # 29 and 27, but at most a quarter of the input
    assert viewer._strip.marks[0].selected.tolist() == [4]
    assert viewer._layer_choice.value == OUTPUT


def test_changing_the_layer_keeps_the_place(viewer: ReceptiveFieldViewer) -> None:
    viewer.layer = "conv1"
    viewer.unit = (90, 10)
    viewer.layer = "pool2"
    assert viewer.unit == (11, 1)  # at once, so that the field is never asked of a unit that is not there
    assert viewer.field.box is not None
    viewer.wait(LONG)
    assert viewer.unit == (11, 1)


def test_words_say_what_is_shown(viewer: ReceptiveFieldViewer) -> None:
    text = viewer._repr_mimebundle_()["text/plain"]
    assert "5 layers on an input of 96 × 96" in text
    assert "grows most at layer conv3 (Conv2d): from 16 to 112" in text
    assert "Unit (3, 3) of output sees" in text
    assert viewer._pictures.units.alt.startswith("The activations of output.")
    assert "of 9216 positions" in viewer._pictures.input.alt
    assert viewer._labels[viewer._strip.figure.model_id][1].startswith("The field grows most at")


def test_the_strip_shows_sizes_jumps_and_what_exceeds_the_input(viewer: ReceptiveFieldViewer) -> None:
    bars, exceeding = viewer._strip.marks
    assert bars.y.tolist() == [[3, 4, 12, 16, 112], [1, 2, 4, 8, 8]]
    assert bars.x.tolist() == ["conv1", "pool1", "conv2", "pool2", "conv3"]
    assert exceeding.x.tolist() == ["conv3"]
    assert exceeding.y.tolist() == [112]
    assert bars.scales["y"].__class__.__name__ == "LogScale"


def hidden(widget: Any) -> bool:
    return "dlw-hidden" in widget._dom_classes


def test_the_key_names_only_what_is_drawn(viewer: ReceptiveFieldViewer, recorder: Any) -> None:
    def named(shown: ReceptiveFieldViewer) -> list[str]:
        return [label.value for label in shown._strip.box.children[1].children if not hidden(label)]

    size, jump = "field size", "jump: input positions from one unit to the next"
    larger = "field larger than the input, or all of it"
    assert named(viewer) == [size, jump, larger]
    small = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 12, 12))
    small.wait(LONG)
    assert named(small) == [size, jump]
    small.close()
    whole = ReceptiveFieldViewer(nn.AdaptiveAvgPool2d(1), (1, 3, 12, 12))
    whole.wait(LONG)
    assert named(whole) == [size, larger]
    whole.close()


def test_an_error_stands_alone_until_there_is_something_to_show(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer(nn.Conv2d(3, 2, 5), (1, 4, 12, 12))
    viewer.wait(LONG)
    assert viewer.error
    choices = (viewer._layer_choice, viewer._channel_choice, viewer._effective_choice, viewer._scale_choice)
    assert all(map(hidden, (*viewer.children[:-1], *choices)))
    assert not any(map(hidden, [viewer._mode_choice, viewer._size_choice]))
    viewer.close()


def test_the_badge_tells_exact_from_whole_and_says_why(recorder: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))
    viewer = ReceptiveFieldViewer(model, (1, 3, 20, 20), layer=0)
    viewer.wait(LONG)
    assert viewer._badge.value == "exact"
    assert "dlw-badge-exact" in viewer._badge._dom_classes
    viewer.layer = 1
    viewer.wait(LONG)
    assert viewer.field.count == 400
    assert viewer._badge.value.startswith("whole input, because of ")
    assert "dlw-badge-whole" in viewer._badge._dom_classes
    assert "dlw-badge-exact" not in viewer._badge._dom_classes
    viewer.close()


def test_activations_are_those_of_the_model(viewer: ReceptiveFieldViewer) -> None:
    model, x = viewer._model.eval(), viewer._example.arguments[0]
    viewer.layer = "pool1"
    viewer.wait(LONG)
    with torch.no_grad():
        expected = model.pool1(model.conv1(x))[0]
    assert np.allclose(viewer._pictures.units.image, expected.mean(0).numpy(), atol=1e-6)
    viewer.channel = 5
    viewer.wait(LONG)
    assert np.allclose(viewer._pictures.units.image, expected[5].numpy(), atol=1e-6)
    assert [label for label, _ in viewer._channel_choice.options] == ["all together", *"01234567"]


class Volume(nn.Module):
    """Three axes of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Twice(nn.Module):
    """One module called three times, and an output that is a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.conv(self.conv(self.conv(x)))}


@pytest.mark.parametrize(
    ("model", "example", "keywords", "sizes", "unit", "box"),
    [
        (nn.Conv1d(2, 3, 5), (1, 2, 40), {}, [36], (18,), ((18, 23),)),
        (Volume(), (1, 1, 9, 10, 11), {}, [7, 8, 9], (3, 4, 4), ((3, 6), (4, 7), (4, 7))),
        (Twice(), (1, 3, 20, 20), {}, [20, 20], (10, 10), ((7, 14), (7, 14))),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(36, 5)), (1, 3, 5, 8), {}, [], (), ((0, 5), (0, 8))),
        (nn.Linear(6, 4), torch.rand(2, 6), {"axes": (1,), "output_axes": (1,)}, [4], (2,), ((0, 6),)),
        (nn.Embedding(9, 3), torch.randint(0, 9, (1, 6)), {"axes": (1,), "output_axes": (1,)}, [6], (3,), ((3, 4),)),
    ],
)
def test_every_number_of_axes(
    recorder: Any, model: nn.Module, example: Any, keywords: Any, sizes: Any, unit: Any, box: Any
) -> None:
    viewer = ReceptiveFieldViewer(model, example, **keywords)
    viewer.wait(LONG)
    assert viewer.error == ""
    assert viewer._pictures.map.out_shape == sizes
    assert viewer.unit == unit
    assert viewer.field.box == box
    assert viewer._pictures.units.image.ndim == 2
    viewer.close()


def test_a_module_called_three_times_has_three_entries(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer(Twice(), (1, 3, 20, 20), layer=("conv", 1))
    viewer.wait(LONG)
    assert viewer.field.count == 25
    assert [name for name, _ in viewer._layer_choice.options] == ["conv", "conv #2", "conv #3", "output"]
    assert viewer._layer_choice.value == 1
    viewer.close()


def test_fields_that_are_no_products_are_asked_for(recorder: Any) -> None:
    kernel = (torch.rand(11, 11, generator=torch.Generator().manual_seed(0)) < 0.5).float()

    class Scattered(nn.Module):
        """A fixed kernel with scattered holes: no small union of products."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", kernel[None, None])

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.weight, padding=5)

    viewer = ReceptiveFieldViewer(Scattered(), (1, 1, 16, 16))
    viewer.wait(LONG)
    fields = viewer._pictures.map
    assert fields.mode == "query"
    recorder.clear()
    generation = fields.generation
    recorder.send_custom(fields, {"type": "query", "role": "unit", "cell": [8, 8], "generation": generation})
    viewer.wait(LONG)
    answers = [data["content"] for model, _, data in recorder.messages if data and data.get("method") == "custom"]
    assert answers == [{"type": "field", "role": "unit", "cell": [8, 8], "generation": generation}]
    expected = np.zeros((16, 16), dtype=bool)
    expected[3:14, 3:14] = kernel.numpy() > 0
    assert np.array_equal(viewer.result.field((8, 8)).mask.numpy(), expected)
    viewer.close()


# What a person does


def test_picking_in_the_browser_selects(viewer: ReceptiveFieldViewer, recorder: Any) -> None:
    recorder.send(viewer._pictures.units, selected=[1, 2])
    viewer.wait(LONG)
    assert viewer.unit == (1, 2)
    assert viewer.field.box == viewer.result.field((1, 2)).box
    recorder.send(viewer._pictures.input, selected=[40, 50])
    viewer.wait(LONG)
    assert viewer.pixel == (40, 50)
    recorder.send(viewer._pictures.input, selected=[])
    assert viewer.pixel is None
    recorder.send(viewer._layer_choice, index=1)
    viewer.wait(LONG)
    assert viewer.layer == 1
    recorder.send_custom(viewer._strip.marks[0], {"event": "element_click", "data": {"index": 3, "x": "pool2"}})
    viewer.wait(LONG)
    assert viewer.layer == 3
    recorder.send(viewer._layer_choice, index=5)
    viewer.wait(LONG)
    assert viewer.layer is None
    recorder.send(viewer._channel_choice, index=3)
    viewer.wait(LONG)
    assert viewer.channel == 2
    assert viewer.error == ""


def test_pinning_costs_few_messages(viewer: ReceptiveFieldViewer, recorder: Any) -> None:
    recorder.send(viewer._pictures.units, selected=[1, 2])
    viewer.wait(LONG)
    senders = [model for model, _, data in recorder.messages if data.get("method") == "update"]
    mine = {
        viewer.model_id: "viewer",
        viewer._pictures.units.model_id: "units",
        viewer._pictures.input.model_id: "input",
    }
    assert sorted(mine.get(sender, "other") for sender in senders) == ["input", "units", "viewer", "viewer"]
    assert [set(state) for state in recorder.updates(viewer)] == [{"_busy"}, {"_busy", "_description"}]
    assert set(recorder.updates(viewer._pictures.units)[0]) == {"alt"}
    recorder.clear()
    viewer.unit = (1, 2)
    viewer.wait(LONG)
    assert recorder.messages == []


def test_a_new_layer_sends_each_model_at_most_one_message(viewer: ReceptiveFieldViewer, recorder: Any) -> None:
    viewer.layer = "conv1"
    viewer.wait(LONG)
    senders = [model for model, _, data in recorder.messages if data.get("method") == "update"]
    assert max(senders.count(sender) for sender in set(senders) - {viewer.model_id}) == 1
    assert senders.count(viewer.model_id) == 2


def test_train_and_eval_are_switched_without_touching_the_model(recorder: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    viewer = ReceptiveFieldViewer(model, (2, 3, 12, 12))
    viewer.wait(LONG)
    assert viewer.field.count == 9
    recorder.send(viewer._mode_choice, index=1)
    viewer.wait(LONG)
    assert viewer.field.count == 144  # in train mode batch norm looks at the whole batch
    assert [module.training for module in model.modules()] == [False] * 3
    recorder.send(viewer._mode_choice, index=2)
    viewer.wait(LONG)
    assert viewer.field.count == 9
    viewer.close()


def test_the_input_size_is_switched_and_a_size_that_fails_is_taken_back(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer(
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 62 * 62, 3)), (1, 3, 64, 64)
    )
    viewer.wait(LONG)
    assert viewer._size_choice.value == (64, 64)
    index = [label for label, _ in viewer._size_choice.options].index("96 × 96")
    recorder.send(viewer._size_choice, index=index)
    viewer.wait(LONG)
    assert "model cannot run" in viewer.error
    assert viewer._size_choice.value == (64, 64)
    assert viewer.result.input_shape == (1, 3, 64, 64)
    viewer.layer = 0
    viewer.wait(LONG)
    assert viewer.error == ""
    viewer.close()
    free = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 64, 64))
    free.wait(LONG)
    recorder.send(free._size_choice, index=index)
    free.wait(LONG)
    assert free._pictures.map.in_shape == [96, 96]
    assert free._pictures.input.image.shape == (96, 96, 3)
    free.close()


def test_linked_viewers_share_a_selection(recorder: Any) -> None:
    a = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 30, 30))
    b = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3, dilation=2), (1, 3, 32, 32))
    a.wait(LONG)
    b.wait(LONG)
    links = [ipywidgets.link((a, name), (b, name)) for name in ("unit", "layer", "pixel", "channel", "image")]
    a.unit = (3, 4)
    b.pixel = (7, 8)
    a.image = Image.new("RGB", (40, 40), (255, 0, 0))
    a.wait(LONG)
    b.wait(LONG)
    assert b.unit == (3, 4)
    assert a.pixel == (7, 8)
    assert b.image.getpixel((0, 0)) == (255, 0, 0)
    assert b._pictures.input.image[0, 0].tolist() == [255, 0, 0]
    assert a.error == b.error == ""
    for link in links:
        link.unlink()
    a.close()
    b.close()


def test_a_linked_viewer_that_refuses_a_unit_leaves_the_other_whole(recorder: Any) -> None:
    a = ReceptiveFieldViewer(nn.Sequential(nn.Conv2d(3, 2, 3), nn.MaxPool2d(4)), (1, 3, 42, 42))
    b = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 14, 14))
    a.wait(LONG)
    b.wait(LONG)
    link = ipywidgets.link((a, "unit"), (b, "unit"))
    with pytest.raises(ValueError, match="unit"):
        a.layer = 0
    a.wait(LONG)
    assert a._pictures.map.out_shape == [40, 40]
    assert a._pictures.units.selected == list(a.unit)
    assert b.error == ""
    link.unlink()
    a.close()
    b.close()


# The image


@pytest.mark.parametrize("kind", ["path", "pil", "numpy", "tensor"])
def test_an_image_of_the_users_own(recorder: Any, kind: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    source = {
        "path": tmp_path / "image.png",
        "pil": Image.fromarray(pixels),
        "numpy": pixels,
        "tensor": torch.from_numpy(pixels).permute(2, 0, 1),
    }[kind]
    viewer = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), source)
    viewer.wait(LONG)
    assert np.array_equal(viewer._pictures.input.image, pixels)
    assert np.array_equal(np.asarray(viewer.image), pixels)
    viewer.image = 255 - pixels
    viewer.wait(LONG)
    assert np.array_equal(viewer._pictures.input.image, 255 - pixels)
    viewer.close()


def test_a_shape_shows_the_photograph_and_an_example_shows_itself(recorder: Any) -> None:
    photo = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 50, 50))
    own = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), torch.zeros(1, 3, 50, 50))
    default = ReceptiveFieldViewer(nn.Conv2d(1, 2, 3))
    for viewer in (photo, own, default):
        viewer.wait(LONG)
    assert photo._pictures.input.image.std() > 20
    assert photo.image.size == (640, 427)
    assert own._pictures.input.image.max() == 0
    assert own.image is None
    assert default._pictures.map.in_shape == [224, 224]
    for viewer in (photo, own, default):
        viewer.close()


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.zeros(0, 4), ValueError, "image has no pixels"),
        (torch.tensor(3.0), ValueError, r"image has shape \(\)"),
        (torch.full((3, 8, 8), float("nan")), ValueError, "192 values that are NaN or infinite"),
        (torch.zeros(3, 8, 8, dtype=torch.complex64), TypeError, "real numbers, got torch.complex64"),
        ("nowhere.png", ValueError, "cannot read 'nowhere.png'"),
        (object(), TypeError, "image must be a path"),
    ],
)
def test_strange_images_give_one_clear_sentence(
    viewer: ReceptiveFieldViewer, image: Any, error: type, message: str
) -> None:
    before = viewer.image
    with pytest.raises(error, match=message):
        viewer.image = image
    assert viewer.image is before
    with pytest.raises(error, match=message):
        ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 8, 8), image=image)


@pytest.mark.parametrize(
    "image",
    [
        torch.rand(3, 9, 9).half(),
        torch.randint(-5, 500, (9, 9)),
        np.zeros((9, 9), dtype=bool),
        np.random.default_rng(0).random((3000, 9)),
        torch.rand(1, 3, 9, 9, dtype=torch.float64),
    ],
)
def test_images_of_unusual_types_and_sizes_work(viewer: ReceptiveFieldViewer, image: Any) -> None:
    viewer.image = image
    viewer.wait(LONG)
    assert viewer.error == ""
    assert viewer._pictures.input.image.shape == (96, 96, 3)


# Bad input, and nothing lost


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("out of luck")


class ReturnsNothing(nn.Module):
    def forward(self, x: Tensor) -> None:
        return None


@pytest.mark.parametrize(
    ("model", "example", "message"),
    [
        (Raises(), (1, 3, 8, 8), "out of luck"),
        (nn.Conv2d(4, 2, 3), (1, 3, 8, 8), "model cannot run on example of shape"),
        (nn.Conv2d(3, 2, 9), (1, 3, 8, 8), "model cannot run on example of shape"),
        (ReturnsNothing(), (1, 3, 8, 8), "tensor"),
        (nn.Linear(8, 2), torch.rand(1, 8), "no axes after batch and channel"),
    ],
)
def test_a_model_that_cannot_run_says_so_in_the_widget(
    recorder: Any, viewer: ReceptiveFieldViewer, model: nn.Module, example: Any, message: str
) -> None:
    broken = ReceptiveFieldViewer(model, example)
    broken.wait(LONG)
    assert message in broken.error
    assert broken.result is None
    assert broken.field is None
    assert broken._repr_mimebundle_()["text/plain"] == broken.error
    viewer.unit = (0, 0)  # the others go on
    viewer.wait(LONG)
    assert viewer.error == ""
    broken.close()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((lambda x: x,), TypeError, "model must be a torch.nn.Module, got function"),
        ((nn.ReLU(), 3), TypeError, "example_or_image must be a tensor, .*, got int"),
        ((nn.ReLU(), [1, 3, 8, 8]), TypeError, r"a shape such as \(1, 3, 224, 224\).*, got list"),
        ((nn.ReLU(), {}), TypeError, "example_or_image must be a tensor, .*, got dict"),
        ((nn.ReLU(), torch.zeros(1, 3, 8, 8, device="meta")), ValueError, "example is a tensor that is on the meta"),
        ((nn.ReLU(), torch.eye(3).to_sparse()), ValueError, "example is a tensor that is sparse"),
        ((nn.ReLU(), (10**6, 3, 10**6, 10**6)), ValueError, "expected at most 268435456"),
        ((nn.ReLU(), ()), ValueError, "example is an empty tuple"),
        ((nn.ReLU(), (1, 3, 0, 4)), ValueError, "sizes of at least 1"),
    ],
)
def test_what_is_no_model_or_example_is_refused_at_once(
    recorder: Any, num_models: Any, arguments: Any, error: type, message: str
) -> None:
    before = num_models()
    with pytest.raises(error, match=message):
        ReceptiveFieldViewer(*arguments)
    with pytest.raises(TypeError, match=r"unknown argument 'lyer'; valid names are: model, .*layer"):
        ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 8, 8), lyer=3)
    assert num_models() == before


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("layer", "conv9", ValueError, "conv9"),
        ("layer", 5, ValueError, "5"),
        ("layer", ("conv1", 1), ValueError, "conv1"),
        ("layer", 1.5, TypeError, "layer"),
        ("unit", (6, 0), ValueError, "unit"),
        ("unit", (0,), ValueError, "unit"),
        ("unit", "ab", TypeError, "unit"),
        ("channel", 4, ValueError, "channel"),
        ("channel", "red", TypeError, "channel"),
        ("pixel", (96, 0), ValueError, "pixel"),
    ],
)
def test_a_selection_that_does_not_exist_is_refused(
    viewer: ReceptiveFieldViewer, recorder: Any, name: str, value: Any, error: type, message: str
) -> None:
    before = getattr(viewer, name)
    with pytest.raises(error, match=message):
        setattr(viewer, name, value)
    assert getattr(viewer, name) == before
    viewer.wait(LONG)
    assert recorder.messages == []


def test_none_stands_for_the_middle_unit_at_any_time(viewer: ReceptiveFieldViewer, recorder: Any) -> None:
    viewer.unit = (0, 1)
    viewer.unit = None
    viewer.wait(LONG)
    assert viewer.unit == (3, 3)
    assert viewer.error == ""
    late = ReceptiveFieldViewer(course_network(), (1, 3, 96, 96))
    link = ipywidgets.link((late, "unit"), (viewer, "unit"))  # before the first one is ready
    late.wait(LONG)
    viewer.wait(LONG)
    assert viewer.unit == late.unit == (3, 3)
    link.unlink()
    late.close()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pixel", 5, "pixel must be a tuple of 2 ints"),
        ("pixel", (0.5, 1), "pixel must be a tuple of 2 ints"),
        ("pixel", "x", "pixel must be a tuple of 2 ints"),
        ("pixel", (99, 0), "pixel"),
        ("pixel", (1,), "pixel must have 2 ints"),
        ("unit", (1,), "unit must have 2 ints"),
        ("channel", 99, "channel must be between"),
    ],
)
def test_a_wrong_first_selection_is_said_in_one_sentence(recorder: Any, name: str, value: Any, message: str) -> None:
    viewer = ReceptiveFieldViewer(course_network(), (1, 3, 96, 96), **{name: value})
    viewer.wait(LONG)
    assert viewer.error.startswith(message)
    setattr(viewer, name, None)
    viewer.wait(LONG)
    assert viewer.error == ""
    assert viewer.unit == (3, 3)
    viewer.close()


def test_a_first_pixel_is_counted_from_the_start(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer(course_network(), (1, 3, 96, 96), pixel=(-1, 0))
    viewer.wait(LONG)
    assert viewer.pixel == (95, 0)
    assert viewer._pictures.input.selected == [95, 0]
    viewer.close()


class Empty(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :0]


def test_an_output_without_units_says_so(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer(Empty(), (1, 3, 9, 10))
    viewer.wait(LONG)
    assert viewer.error == "there are no units: the output's sizes along its axes of positions are (0, 10)"
    viewer.close()


def test_a_first_selection_that_does_not_exist_is_said_and_can_be_mended(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer(course_network(), (1, 3, 96, 96), layer="conv9")
    viewer.wait(LONG)
    assert "conv9" in viewer.error
    assert all(map(hidden, viewer.children[:-1]))
    viewer.layer = "conv2"
    viewer.wait(LONG)
    assert viewer.error == ""
    assert not any(map(hidden, viewer.children))
    assert viewer.field.count == 144
    viewer.close()


def test_names_that_hold_markup_or_invisible_characters_are_shown_as_text(recorder: Any) -> None:
    model = nn.Sequential()
    for name in ("<img src=x onerror=alert(1)>", "a\u202eb", "c\x00d", "$x$"):
        model.add_module(name, nn.Conv2d(3, 3, 3))
    viewer = ReceptiveFieldViewer(model, (1, 3, 20, 20), layer="a\u202eb")
    viewer.wait(LONG)
    assert viewer.error == ""
    assert viewer.field.count == 25
    for widget in (viewer._layer_choice, viewer._badge, viewer._pictures.map, viewer):
        sent = repr(widget.get_state())
        assert "\u202e" not in sent
        assert "\x00" not in sent
    assert "a\\u202eb" in viewer._description
    viewer.close()


class Everything(nn.Module):
    """Batch norm, dropout, a frozen part, a gradient, hooks: all that observing might disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(4, 2, 3)
        self.conv.weight.requires_grad_(False)
        self.norm.eval()
        self.norm.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv(x))))


def snapshot(model: nn.Module) -> Any:
    tensors = {name: value.clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    keys = [sorted(module.__dict__) for module in model.modules()]
    return tensors, grads, modes, hooks, flags, keys, torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002


def test_the_model_and_the_generators_stay_bitwise_as_they_were(recorder: Any) -> None:
    model = Everything()
    model(torch.rand(2, 3, 12, 12)).sum().backward()
    before = snapshot(model)
    viewer = ReceptiveFieldViewer(model, (2, 3, 24, 24))
    viewer.wait(LONG)
    viewer.layer, viewer.channel = "conv", 1
    viewer.wait(LONG)
    viewer.unit = (0, 0)
    for index in (1, 2, 0):
        recorder.send(viewer._mode_choice, index=index)
        viewer.wait(LONG)
    viewer._effective_choice.value = True
    viewer.wait(LONG)
    assert viewer.error == ""
    viewer.close()
    after = snapshot(model)
    for old, new in zip(before[:2], after[:2], strict=True):
        assert old.keys() == new.keys()
        assert all(
            (a is None and b is None) or torch.equal(a, b) for a, b in zip(old.values(), new.values(), strict=True)
        )
    assert before[2:6] == after[2:6]
    assert torch.equal(before[6], after[6])
    assert np.array_equal(before[7], after[7])


def test_the_viewer_sees_weights_that_change(recorder: Any) -> None:
    model = nn.Conv2d(3, 1, 3)
    viewer = ReceptiveFieldViewer(model, torch.ones(1, 3, 8, 8))
    viewer.wait(LONG)
    first = viewer._pictures.units.image.copy()
    with torch.no_grad():
        model.weight += 1
    viewer.channel = 0
    viewer.wait(LONG)
    assert np.allclose(viewer._pictures.units.image, first + 27, atol=1e-4)
    viewer.close()


def test_close_frees_every_model_and_ten_viewers_leave_no_growth(recorder: Any, num_models: Any) -> None:
    before = num_models()
    for _ in range(10):
        viewer = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 12, 12))
        viewer.wait(LONG)
        assert num_models() > before + 20
        viewer.close()
        assert num_models() == before


def test_a_closed_viewer_lets_go_of_the_network_and_keeps_its_result(recorder: Any) -> None:
    model = nn.Conv2d(3, 2, 3)
    alive = weakref.ref(model)
    viewer = ReceptiveFieldViewer(model, (1, 3, 12, 12))
    viewer.wait(LONG)
    viewer.close()
    del model
    gc.collect()
    assert alive() is None
    assert viewer.field.count == 9
    viewer.layer = 0
    viewer.unit = None
    recorder.clear()
    viewer.wait(LONG)
    assert recorder.messages == []


def test_a_copy_of_the_model_can_be_made_while_it_is_shown(viewer: ReceptiveFieldViewer) -> None:
    again = copy.deepcopy(viewer._model)
    assert torch.equal(again(torch.ones(1, 3, 96, 96)), viewer._model(torch.ones(1, 3, 96, 96)))


# The effective field


def test_the_effective_field_is_asked_for_by_its_button_and_hidden_again(viewer: ReceptiveFieldViewer) -> None:
    viewer.layer, viewer.unit = "pool2", (5, 5)
    viewer.wait(LONG)
    assert viewer._pictures.heat_figure not in viewer._pictures.box.children
    assert hidden(viewer._scale_choice)
    viewer._effective_choice.value = True
    viewer.wait(LONG)
    assert viewer._pictures.heat_figure in viewer._pictures.box.children
    assert not hidden(viewer._scale_choice)
    heat = viewer._pictures.heat.image
    assert heat.shape == (96, 96)
    assert abs(float(heat.sum()) - 1) < 1e-5
    assert not (heat[~viewer.field.mask.numpy()] != 0).any()
    assert viewer._areas.value.startswith("Of the influence on this unit 50 % from ")
    viewer._scale_choice.value = "log"
    assert viewer._pictures.heat.image.max() == 0
    assert viewer._pictures.heat.image.min() == -6
    viewer.unit = (2, 2)
    viewer.wait(LONG)
    (top, bottom), (left, right) = viewer.field.box
    assert viewer._pictures.heat.boxes.tolist() == [[top, left, bottom, right, 0]]
    viewer._effective_choice.value = False
    assert viewer._pictures.heat_figure not in viewer._pictures.box.children
    assert viewer._areas.value == ""
    assert hidden(viewer._scale_choice)


def test_the_effective_field_follows_the_output_axes(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer(nn.Conv2d(3, 2, 3), (1, 3, 12, 12), output_axes=(3, 2), unit=(1, 3))
    viewer.wait(LONG)
    viewer._effective_choice.value = True
    viewer.wait(LONG)
    assert viewer.field.box == ((3, 6), (1, 4))
    assert np.array_equal(viewer._pictures.heat.image > 0, viewer.field.mask.numpy())
    viewer.close()


# Stacks edited by hand


def test_from_layers_reproduces_the_three_ways_to_grow(recorder: Any, num_models: Any) -> None:
    before = num_models()
    viewer = ReceptiveFieldViewer.from_layers(
        [{"kernel_size": 3, "stride": 2}, {"kernel_size": 3, "stride": 2}], [{"kernel_size": 3, "dilation": 2}]
    )
    viewer.wait(LONG)
    viewer.other.wait(LONG)
    assert [layer.size for layer in viewer.result.layers] == [(3, 3), (7, 7)]
    assert viewer.other.field.count == 9  # of the 25 that it spans
    assert viewer.other.field.box[0][1] - viewer.other.field.box[0][0] == 5
    viewer.close()
    assert num_models() == before


def test_editing_redraws_everything_in_one_round_trip(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer.from_layers([{"kernel_size": 3}, nn.MaxPool2d(2)])
    viewer.wait(LONG)
    recorder.clear()
    recorder.send(viewer._editor._rows[0]["kernel_size"], value=5)
    viewer.wait(LONG)
    assert [layer.size for layer in viewer.result.layers] == [(5, 5), (6, 6)]
    assert viewer.layers[0]["kernel_size"] == 5
    senders = [model for model, _, data in recorder.messages if data.get("method") == "update"]
    assert max(senders.count(sender) for sender in set(senders) - {viewer.model_id}) == 1
    assert senders.count(viewer.model_id) == 2
    viewer.close()


def test_rows_are_added_and_removed(recorder: Any, num_models: Any) -> None:
    viewer = ReceptiveFieldViewer.from_layers([{"kernel_size": 3}])
    viewer.wait(LONG)
    count = num_models()
    recorder.send_custom(viewer._editor._add, {"event": "click"})
    viewer.wait(LONG)
    assert [layer.size for layer in viewer.result.layers] == [(3, 3), (5, 5)]
    recorder.send_custom(viewer._editor._rows[0]["remove"], {"event": "click"})
    viewer.wait(LONG)
    assert [layer.size for layer in viewer.result.layers] == [(3, 3)]
    assert num_models() == count
    viewer.layers = [{"pool": True}, {"kernel_size": 7, "padding": 3}]
    viewer.wait(LONG)
    assert [layer.size for layer in viewer.result.layers] == [(2, 2), (14, 14)]
    assert [row["kernel_size"].value for row in viewer._editor._rows] == [2, 7]
    viewer.close()


def test_a_stack_that_does_not_fit_says_so_and_can_be_mended(recorder: Any) -> None:
    viewer = ReceptiveFieldViewer.from_layers([{"kernel_size": 31}], size=(40, 40))
    viewer.wait(LONG)
    recorder.send_custom(viewer._editor._add, {"event": "click"})
    viewer.wait(LONG)
    recorder.send(viewer._editor._rows[1]["kernel_size"], value=31)
    viewer.wait(LONG)
    assert "model cannot run" in viewer.error
    recorder.send(viewer._editor._rows[1]["pool"], value=True)
    recorder.send(viewer._editor._rows[1]["padding"], value=60)
    assert "a pooling of size 31 takes at most 15" in viewer.error
    recorder.send(viewer._editor._rows[1]["padding"], value=15)
    recorder.send(viewer._editor._rows[1]["kernel_size"], value=30)
    viewer.wait(LONG)
    assert viewer.error == ""
    viewer.close()


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([], ValueError, "layers is empty"),
        ("conv", TypeError, "layers must be a list"),
        ([3], TypeError, "layer 0 must be a dict"),
        ([{"kernel": 3}], ValueError, "layer 0 has an unknown setting 'kernel'"),
        ([{}, {"stride": 0}], ValueError, "layer 1: stride is 0, expected 1 to 16"),
        ([{"kernel_size": 2.5}], TypeError, "layer 0: kernel_size must be an int"),
        ([nn.Conv2d(1, 1, (3, 5))], ValueError, "expected the same along both axes"),
        ([nn.Conv2d(1, 1, 3, padding="same")], ValueError, "padding is 'same', expected a number"),
        ([nn.Linear(2, 2)], TypeError, "layer 0 must be a dict"),
    ],
)
def test_layers_that_are_none_are_refused(
    recorder: Any, num_models: Any, layers: Any, error: type, message: str
) -> None:
    before = num_models()
    with pytest.raises(error, match=message):
        ReceptiveFieldViewer.from_layers(layers)
    assert num_models() == before


def test_names_are_made_unique() -> None:
    assert unique(["a", "b", "a", "a\x00"]) == ["a", "b", "a (2)", "a\\u0000"]
    assert OUTPUT < 0
