"""The Python side of PointCloud: what it takes, what it refuses and what it sends."""

from collections.abc import Iterator
from typing import Any

import bqplot
import comm
import numpy as np
import pytest
import torch
import traitlets
from comm.base_comm import BaseComm
from hypothesis import given
from hypothesis import strategies as st

from dlwidgets.marks.point_cloud import PALETTE, PointCloud, point_figure


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any, list[Any]]]]:
    """The messages of all models: type, data and buffers."""
    messages: list[tuple[str, Any, list[Any]]] = []

    class RecordingComm(BaseComm):
        def publish_msg(
            self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
        ) -> None:
            messages.append((msg_type, data, buffers or []))

    monkeypatch.setattr(comm, "create_comm", RecordingComm)
    return messages


@pytest.mark.parametrize(
    ("given_x", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        (np.arange(3), [0, 1, 2]),
        (np.arange(6)[::2], [0, 2, 4]),
        (torch.tensor([1.5, 2.5, 3.5], requires_grad=True), [1.5, 2.5, 3.5]),
        (torch.tensor([1.5, 2.5, 3.5], dtype=torch.bfloat16), [1.5, 2.5, 3.5]),
        (np.array([True, False, True]), [1, 0, 1]),
        (np.array([1e300, np.nan, -np.inf]), [np.inf, np.nan, -np.inf]),
    ],
)
def test_anything_with_numbers_becomes_float32(given_x, expected):
    cloud = PointCloud(given_x, [0, 0, 0])
    assert cloud.x.dtype == np.float32
    np.testing.assert_array_equal(cloud.x, np.array(expected, np.float32))


def test_nothing_is_shared_with_what_was_given():
    x, y, color = torch.zeros(3), np.zeros(3, np.float32), np.zeros(3, np.uint8)
    cloud = PointCloud(x, y, color)
    x += 1
    y += 1
    color += 1
    assert cloud.x.tolist() == cloud.y.tolist() == cloud.color.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"x": [1, 2], "y": [1]}, "x has 2, y has 1"),
        ({"x": [1], "y": [1, 2]}, "x has 1, y has 2"),
        ({"x": [1], "y": [1], "color": [0, 1]}, "color has 2"),
        ({"x": [[1]], "y": [1]}, "x has shape (1, 1)"),
        ({"x": 1, "y": 1}, "x has shape ()"),
        ({"x": ["a"], "y": [1]}, "x must hold real numbers"),
        ({"x": [1j], "y": [1]}, "x must hold real numbers"),
        ({"x": None, "y": [1]}, "x"),
        ({"x": [1], "y": [1], "color": [0.5]}, "color must hold whole numbers"),
        ({"x": [1], "y": [1], "color": [-1]}, "from 0 to 65535, got -1"),
        ({"x": [1], "y": [1], "color": [65536]}, "from 0 to 65535, got 65536"),
        ({"x": [1], "y": [1], "selected": [1]}, "selected names point 1, but there are 1 points"),
        ({"x": [1], "y": [1], "selected": [-1]}, "selected names point -1"),
        ({"x": [1], "y": [1], "selected": [0.0]}, "selected must hold whole numbers"),
        ({"size": 0}, "size must be from 1 to 64, got 0"),
        ({"size": float("nan")}, "size must be from 1 to 64, got nan"),
        ({"opacity": 0}, "opacity must be from 0 to 1, got 0"),
        ({"opacity": 1.5}, "opacity must be from 0 to 1, got 1.5"),
        ({"pointer": [1]}, "pointer must be [] or two finite numbers"),
        ({"pointer": [1, float("inf")]}, "pointer must be [] or two finite numbers"),
        ({"palette": []}, "palette"),
        ({"drag": "zoom"}, "drag"),
        ({"renderer": "svg"}, "renderer"),
        ({"scales": {"x": bqplot.LogScale()}}, "x must be a bqplot.LinearScale, got LogScale"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(arguments, said):
    with pytest.raises(traitlets.TraitError) as caught:
        PointCloud(**arguments)
    assert said in str(caught.value)


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match=r"'colour'.*color.*selected"):
        PointCloud(colour=[1])


@pytest.mark.parametrize(("highest", "dtype"), [(0, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_colours_take_the_fewest_bytes(highest, dtype):
    for values in ([0, highest], np.array([0, highest], np.int64), torch.tensor([0, highest])):
        cloud = PointCloud([0, 0], [0, 0], values)
        assert cloud.color.dtype == dtype
        assert cloud.color.tolist() == [0, highest]


def test_an_empty_cloud_is_a_cloud():
    cloud = PointCloud()
    assert (cloud.num_points, cloud.num_nonfinite, cloud.selected.tolist()) == (0, 0, [])
    cloud.set_points([], [], [])
    cloud.set_points([1, 2], [3, 4], [0, 1])
    assert cloud.num_points == 2


@given(
    st.lists(st.tuples(st.floats(width=32, allow_nan=True), st.floats(width=32, allow_nan=True)), max_size=30),
)
def test_points_with_a_coordinate_that_is_not_finite_are_counted(points):
    cloud = PointCloud([x for x, _ in points], [y for _, y in points])
    assert cloud.num_nonfinite == sum(not (abs(x) < np.inf and abs(y) < np.inf) for x, y in points)


def test_a_float64_beyond_float32_counts_as_not_finite():
    assert PointCloud([1e300, 0], [0, 0]).num_nonfinite == 1


def test_set_points_is_one_message_of_nine_bytes_a_point(sent):
    cloud = PointCloud(np.zeros(10), np.zeros(10))
    sent.clear()
    num_points = 5000
    cloud.set_points(np.arange(num_points), np.arange(num_points), np.arange(num_points) % 10)
    arrays = [data["state"].keys() & {"x", "y", "color"} for _, data, _ in sent]
    assert arrays == [{"x", "y", "color"}]
    assert sum(memoryview(buffer).nbytes for _, _, buffers in sent for buffer in buffers) == 9 * num_points


def test_a_new_cloud_sends_at_most_twelve_bytes_a_point(sent):
    num_points = 5000
    PointCloud(np.arange(num_points), np.arange(num_points), np.arange(num_points) % 300)
    (buffers,) = [buffers for kind, _, buffers in sent if kind == "comm_open" and buffers and len(buffers) > 2]
    assert sum(memoryview(buffer).nbytes for buffer in buffers) == 10 * num_points


def test_the_selection_survives_moving_points_and_not_another_number_of_them():
    cloud = PointCloud([1, 2, 3], [1, 2, 3], selected=[0, 2], clicked=2, hovered=1)
    cloud.set_points([4, 5, 6], [4, 5, 6])
    assert cloud.selected.tolist() == [0, 2]
    cloud.set_points([4, 5], [4, 5])
    assert (cloud.selected.tolist(), cloud.clicked, cloud.hovered) == ([], -1, -1)


def test_refused_points_leave_everything_as_it_was():
    cloud = PointCloud([1, 2, 3], [4, 5, 6], [0, 1, 2], selected=[1])
    with pytest.raises(traitlets.TraitError):
        cloud.set_points([1, 2], [3])
    with pytest.raises(traitlets.TraitError, match="set_points"):
        cloud.x = [1, 2]
    assert (cloud.x.tolist(), cloud.y.tolist()) == ([1, 2, 3], [4, 5, 6])
    assert (cloud.color.tolist(), cloud.selected.tolist()) == ([0, 1, 2], [1])


def test_a_selection_made_in_the_browser_arrives_as_int32_and_is_not_sent_back(sent):
    cloud = PointCloud(np.zeros(1000), np.zeros(1000))
    sent.clear()
    indices = np.arange(0, 1000, 7, dtype=np.int32)
    heard: list[list[int]] = []
    cloud.observe(lambda change: heard.append(change["new"].tolist()), "selected")
    wire = {"value": memoryview(indices.tobytes()), "dtype": "int32", "shape": [len(indices)]}
    cloud.set_state({"selected": wire})
    assert heard == [indices.tolist()]
    assert cloud.selected.dtype == np.int32
    assert [data for _, data, _ in sent if "selected" in data.get("state", {})] == []


def test_clicks_reach_the_handlers_that_bqplot_knows():
    cloud = PointCloud([0, 1], [0, 1])
    heard: list[Any] = []
    cloud.on_element_click(lambda _, content: heard.append(content["data"]["index"]))
    cloud.on_background_click(lambda _, content: heard.append((content["data"]["x"], content["data"]["y"])))
    cloud._handle_custom_msgs(None, {"event": "element_click", "data": {"index": 1, "x": 1.0, "y": 1.0}})
    cloud._handle_custom_msgs(None, {"event": "background_click", "data": {"index": -1, "x": 0.25, "y": 3.0}})
    assert heard == [1, (0.25, 3.0)]


def test_the_figure_pans_both_scales():
    cloud = PointCloud([0, 1], [0, 1])
    figure = point_figure(cloud, title="Codes")
    assert figure.marks == [cloud]
    assert figure.interaction.scales == {"x": [cloud.scales["x"]], "y": [cloud.scales["y"]]}
    assert point_figure(cloud, axes=False).axes == []


# Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009, severity 1: linear RGB as seen without one kind of cone.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


def linear(color: str) -> np.ndarray:
    """Linear RGB of #rrggbb."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB."""
    relative = XYZ @ rgb / XYZ.sum(1)
    f = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_any_two_of_the_ten_colours_differ_for_every_kind_of_eye(vision):
    seen = [lab(np.clip(np.array(VISION[vision]) @ linear(color), 0, 1)) for color in PALETTE]
    distances = [np.linalg.norm(seen[i] - seen[j]) for i in range(len(seen)) for j in range(i)]
    assert len(PALETTE) == 10
    assert min(distances) > 15  # the least among Okabe and Ito's own is 16


@pytest.mark.parametrize("color", PALETTE)
def test_every_colour_shows_on_white_and_on_dark_paper(color):
    luminance = XYZ[1] @ linear(color)
    dark = XYZ[1] @ linear("#111111")
    assert 1.05 / (luminance + 0.05) > 1.5
    assert (luminance + 0.05) / (dark + 0.05) > 1.5


def test_a_move_is_not_sent_back(sent: list[tuple[str, Any, list[Any]]]) -> None:
    cloud = PointCloud([0, 1], [0, 1])
    sent.clear()
    cloud.set_state({"pointer": [0.25, 0.75], "hovered": 1})
    assert (cloud.pointer, cloud.hovered) == ([0.25, 0.75], 1)
    assert sent == []
    cloud.pointer = [0.5, 0.5]
    assert [data["state"] for _, data, _ in sent] == [{"pointer": [0.5, 0.5]}], "what Python sets does travel"
