"""A picture of an array: one cell a number, row 0 on top."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets
from bqplot.traits import array_serialization
from traittypes import Array

from dlwidgets.marks.field_map import FieldMap
from dlwidgets.marks.model import Model
from dlwidgets.marks.palette import sequential_scale

_IMAGES = "float32 (rows, columns), uint8 (rows, columns) or uint8 (rows, columns, 3)"


@bqplot.marks.register_mark("dlwidgets.Raster")
class Raster(Model, bqplot.Mark):
    """An array as a picture on a canvas: crisp cells, row 0 on top, with overlays, hovering, pinning and the keyboard.

    The cell at (row, column) covers ``column <= x <= column + 1`` and ``row <= y <= row + 1``. Numbers that are not
    finite are hatched. `raster_figure` makes a figure that fits.

    Args:
        image: see the trait; other keyword arguments are traits too.
        scales: ``x`` and ``y`` (linear, ``y`` reversed; made here if missing) and, for float images, ``color``
            (cividis over the finite range if missing).

    Raises:
        TypeError: an unknown keyword argument.
        traitlets.TraitError: an array of another type or shape than its trait's help says, or a scale that does not
            fit.
    """

    _view_name = traitlets.Unicode("Raster").tag(sync=True)
    _model_name = traitlets.Unicode("RasterModel").tag(sync=True)

    image = Array(None, allow_none=True, help=f"{_IMAGES}; None draws nothing.").tag(sync=True, **array_serialization)
    mask = Array(
        None,
        allow_none=True,
        help="bool or uint8 (rows, columns): a translucent overlay; 0 is clear, v the colour v - 1 of the palette.",
    ).tag(sync=True, **array_serialization)
    boxes = Array(
        None,
        allow_none=True,
        help="int (n, 4) or (n, 5): row and column of the start and of the stop (exclusive), and a colour class.",
    ).tag(sync=True, **array_serialization)
    outside = traitlets.Tuple(
        traitlets.Int(min=0),
        traitlets.Int(min=0),
        traitlets.Int(min=0),
        traitlets.Int(min=0),
        default_value=(0, 0, 0, 0),
        help="How many cells of padding to show hatched at the top, left, bottom and right of the array.",
    ).tag(sync=True)
    square = traitlets.Bool(True, help="Keep every cell as wide as it is high.").tag(sync=True)
    selected = traitlets.List(traitlets.Int(), help="[row, column] of the pinned cell, [] if none.").tag(sync=True)
    hovered = traitlets.List(traitlets.Int(), help="[row, column] under the pointer, [] if none.").tag(sync=True)
    report_hover = traitlets.Bool(True, help="Whether the browser reports `hovered`, once a frame at most.").tag(
        sync=True
    )
    linked = traitlets.Instance(
        FieldMap, allow_none=True, help="What each unit sees: hovering here lights the linked picture's cells."
    ).tag(sync=True, **ipywidgets.widget_serialization)
    role = traitlets.Enum(
        ["unit", "input"], default_value="unit", help="Which side of `linked` this picture shows."
    ).tag(sync=True)
    alt = traitlets.Unicode("", help="The content in words, for assistive technology.").tag(sync=True)

    scales_metadata = traitlets.Dict(
        {
            "x": {"orientation": "horizontal", "dimension": "x"},
            "y": {"orientation": "vertical", "dimension": "y"},
            "color": {"dimension": "color"},
        }
    ).tag(sync=True)

    def __init__(self, image: Any = None, **kwargs: Any) -> None:
        scales = dict(kwargs.pop("scales", None) or {})
        scales.setdefault("x", bqplot.LinearScale())
        scales.setdefault("y", bqplot.LinearScale(reverse=True))
        if "color" not in scales:
            scales["color"] = sequential_scale()
        super().__init__(image=image, scales=scales, **kwargs)

    @traitlets.validate("scales")
    def _validate_scales(self, proposal: Any) -> Any:
        scales = proposal["value"]
        for name in ("x", "y"):
            scale = scales.get(name)
            if not isinstance(scale, bqplot.LinearScale):
                raise traitlets.TraitError(f"scales: {name} must be a bqplot.LinearScale, got {type(scale).__name__}")
        if not scales["y"].reverse:
            raise traitlets.TraitError("scales: y must be reversed, LinearScale(reverse=True): row 0 is on top")
        return scales

    @traitlets.validate("image")
    def _check_image(self, proposal: Any) -> Any:
        image = proposal["value"]
        if image is None:
            return None
        flat = image.ndim == 2 and image.dtype in (np.float32, np.uint8)
        colored = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
        if not (flat or colored):
            raise traitlets.TraitError(f"image must be {_IMAGES}, got {image.dtype} {image.shape}")
        if image.size == 0:
            raise traitlets.TraitError(f"image has no cells, got shape {image.shape}")
        return image

    @traitlets.validate("mask")
    def _check_mask(self, proposal: Any) -> Any:
        mask = proposal["value"]
        if mask is None:
            return None
        if mask.ndim != 2 or mask.dtype not in (np.bool_, np.uint8):
            raise traitlets.TraitError(f"mask must be bool or uint8 (rows, columns), got {mask.dtype} {mask.shape}")
        return mask.astype(np.uint8)

    @traitlets.validate("boxes")
    def _check_boxes(self, proposal: Any) -> Any:
        boxes = proposal["value"]
        if boxes is None:
            return None
        if boxes.size == 0:
            return np.zeros((0, 5), dtype=np.int32)
        if boxes.ndim != 2 or boxes.shape[1] not in (4, 5) or boxes.dtype.kind not in "iu":
            raise traitlets.TraitError(f"boxes must be int (n, 4) or (n, 5), got {boxes.dtype} {boxes.shape}")
        classes = np.zeros((len(boxes), 5), dtype=np.int32)
        classes[:, : boxes.shape[1]] = boxes
        return classes

    @traitlets.validate("selected", "hovered")
    def _check_cell(self, proposal: Any) -> Any:
        cell, name = proposal["value"], proposal["trait"].name
        if cell and (len(cell) != 2 or min(cell) < 0):
            raise traitlets.TraitError(f"{name} must be [] or [row, column], got {cell}")
        return cell


def raster_figure(raster: Raster, *, title: str = "", height: int = 320, axes: bool = False) -> bqplot.Figure:
    """A figure around a raster: narrow margins, square cells at any size, wide enough for a phone.

    Args:
        raster: the mark to show.
        title: a heading, also the figure's name for assistive technology.
        height: in CSS pixels; the width is what there is.
        axes: whether to number rows and columns.
    """
    around = [
        bqplot.Axis(scale=raster.scales[name], side=side, grid_lines="none")
        for name, side in (("x", "bottom"), ("y", "left"))
        if axes  # an axis in no figure would never be closed
    ]

    def number(_: Any = None) -> None:
        rows, columns = (0, 0) if raster.image is None else raster.image.shape[:2]
        for axis, size in zip(around, (columns, rows), strict=True):
            axis.tick_values = _ticks(size)

    if axes:
        number()
        raster.observe(number, "image")
    layout = ipywidgets.Layout(flex="1 1 auto", width="auto", min_width="240px", height=f"{height}px")
    return bqplot.Figure(
        marks=[raster],
        axes=around,
        title=title,
        fig_margin={"top": 44 if title else 8, "bottom": 28 if axes else 8, "left": 44 if axes else 8, "right": 8},
        padding_x=0,
        padding_y=0,
        display_toolbar=False,
        layout=layout,
    )


def _ticks(size: int) -> np.ndarray:
    """About five multiples of a round number that lie on the picture: bqplot's own ticks run on beside it."""
    step = next(n for n in (m * 10**e for e in range(10) for m in (1, 2, 5)) if n * 5 >= size)
    return np.arange(0, size + 1, step, dtype=np.float64)
