"""The Python side of Raster: what it takes, what it refuses and what it sends."""

import bqplot
import numpy as np
import pytest
import traitlets

from dlwidgets.marks import CIVIDIS, Raster, diverging_scale, raster_figure


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((3, 4)), "float64 (3, 4)"),
        (np.zeros((3, 4), np.float16), "float16"),
        (np.zeros((3, 4), np.int32), "int32"),
        (np.zeros((3, 4), bool), "bool"),
        (np.zeros((3, 4), complex), "complex128"),
        (np.zeros((3, 4, 4), np.uint8), "(3, 4, 4)"),
        (np.zeros((3, 4, 3), np.float32), "float32 (3, 4, 3)"),
        (np.zeros(3, np.float32), "(3,)"),
        (np.float32(1), "()"),
        (np.zeros((0, 4), np.float32), "no cells"),
    ],
)
def test_other_images_are_refused_by_type_and_shape(image, said):
    with pytest.raises(traitlets.TraitError) as caught:
        Raster(image)
    assert "image" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 4), np.float32),
        np.full((3, 4), np.nan, np.float32),
        np.zeros((1, 1), np.uint8),
        np.zeros((3, 4, 3), np.uint8),
        None,
    ],
)
def test_images_are_sent_bit_for_bit(image):
    state = Raster(image).get_state("image")["image"]
    if image is None:
        assert state is None
    else:
        assert (bytes(state["value"]), state["dtype"], state["shape"]) == (
            image.tobytes(),
            str(image.dtype),
            image.shape,
        )


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match=r"'colour'.*image.*selected"):
        Raster(colour="red")


def test_scales_are_made_and_row_zero_stays_on_top():
    raster = Raster(np.zeros((2, 2), np.float32))
    assert raster.scales["y"].reverse
    assert raster.scales["color"].colors == list(CIVIDIS)
    own = diverging_scale(min=-1.0, max=1.0)
    assert Raster(scales={"color": own}).scales["color"] is own
    with pytest.raises(traitlets.TraitError, match="row 0 is on top"):
        Raster(scales={"y": bqplot.LinearScale()})
    with pytest.raises(traitlets.TraitError, match=r"x must be a bqplot\.LinearScale, got LogScale"):
        Raster(scales={"x": bqplot.LogScale()})


def test_masks_and_boxes_are_checked_and_completed():
    raster = Raster(np.zeros((4, 4), np.uint8), mask=np.eye(4, dtype=bool), boxes=[[0, 1, 2, 3]])
    assert raster.mask.dtype == np.uint8
    np.testing.assert_array_equal(raster.mask, np.eye(4))
    np.testing.assert_array_equal(raster.boxes, [[0, 1, 2, 3, 0]])
    raster.boxes = [[0, 1, 2, 3, 5]]
    np.testing.assert_array_equal(raster.boxes, [[0, 1, 2, 3, 5]])
    raster.boxes = []
    assert raster.boxes.shape == (0, 5)
    with pytest.raises(traitlets.TraitError, match=r"mask must be bool or uint8 \(rows, columns\), got float64"):
        raster.mask = np.zeros((4, 4))
    with pytest.raises(traitlets.TraitError, match=r"boxes must be int .* got int64 \(1, 3\)"):
        raster.boxes = [[0, 1, 2]]
    with pytest.raises(traitlets.TraitError, match=r"boxes must be int .* got float64"):
        raster.boxes = [[0, 1, 2, 0.5]]


@pytest.mark.parametrize("cell", [[1], [1, 2, 3], [-1, 0]])
def test_a_cell_is_a_row_and_a_column(cell):
    with pytest.raises(traitlets.TraitError, match=r"selected must be \[\] or \[row, column\]"):
        Raster(selected=cell)


def test_a_change_of_the_picture_is_one_message():
    raster = Raster(np.zeros((2, 2), np.float32))
    messages = []
    raster.comm.send = lambda data=None, **_: messages.append(data)
    raster.image = np.ones((5, 7), np.float32)
    assert len(messages) == 1
    assert set(messages[0]["state"]) == {"image"}


def test_the_figure_holds_square_cells_and_few_margins():
    raster = Raster(np.zeros((4, 6), np.uint8))
    figure = raster_figure(raster, title="Input", axes=True)
    assert figure.marks == [raster]
    assert [axis.scale for axis in figure.axes] == [raster.scales["x"], raster.scales["y"]]
    assert [axis.tick_values.tolist() for axis in figure.axes] == [[0, 2, 4, 6], [0, 1, 2, 3, 4]]
    raster.image = np.zeros((1024, 1024), np.uint8)
    assert figure.axes[0].tick_values.tolist() == [0, 500, 1000]
    assert (figure.padding_x, figure.padding_y) == (0, 0)
    assert raster.square
    assert raster_figure(raster).axes == []
