"""Very many points in a plane: drawn, looked up and selected in the browser."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets
from bqplot.traits import array_from_json, array_serialization
from traittypes import Array

from dlwidgets.marks.model import Model
from dlwidgets.widgets.arrays import to_plot

PALETTE = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#8700f0",
    "#693c1e",
    "#d2d287",
    "#4b4b5a",
)
"""Ten colours for classes: six of Okabe and Ito's, without the yellow and black that vanish on white or dark paper, and
four more, as far as possible from all others as people with normal, protan, deutan and tritan vision see them."""

MAX_COLORS = 65536


class _Values(Array):
    """One number a point, from anything that `to_plot` takes; a fresh copy."""

    def validate(self, obj: Any, value: Any) -> Any:
        if value is None and self.allow_none:
            return None
        try:
            return self.converted(to_plot(value, name=self.name, shape=(None,)), obj)
        except (TypeError, ValueError) as error:
            raise traitlets.TraitError(str(error)) from error

    def converted(self, values: np.ndarray, _: Any) -> np.ndarray:
        return values.astype(np.float32, copy=False)


class _Colors(_Values):
    def converted(self, values: np.ndarray, _: Any) -> np.ndarray:
        if values.size == 0:
            return values.astype(np.uint8)
        if values.dtype.kind == "f":
            raise TypeError("color must hold whole numbers, one index into the palette a point; got floating numbers")
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= MAX_COLORS:
            worst = low if low < 0 else high
            raise ValueError(f"color must hold indices from 0 to {MAX_COLORS - 1}, got {worst}")
        return values.astype(np.uint8 if high < 256 else np.uint16, copy=False)


class _Indices(_Values):
    def converted(self, values: np.ndarray, obj: Any) -> np.ndarray:
        if values.size == 0:
            return np.zeros(0, dtype=np.int32)
        if values.dtype.kind == "f":
            raise TypeError("selected must hold whole numbers, the indices of points; got floating numbers")
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= obj.num_points:
            worst = low if low < 0 else high
            raise ValueError(f"selected names point {worst}, but there are {obj.num_points} points, counted from 0")
        return values.astype(np.int32, copy=False)


def _none() -> np.ndarray:
    return np.zeros(0, dtype=np.float32)


def _wire(array: np.ndarray, _: Any) -> dict[str, Any]:
    """Exactly what the browser sends: ipywidgets sends nothing back then."""
    return {"value": memoryview(array.tobytes()), "dtype": str(array.dtype), "shape": list(array.shape)}


@bqplot.marks.register_mark("dlwidgets.PointCloud")
class PointCloud(Model, bqplot.Mark):
    """Points on a canvas, a million of them if need be, with hovering, clicking, lasso, brush and a keyboard probe.

    Points are drawn in order, the last on top; those with a coordinate that is not finite are left out and counted in
    `num_nonfinite`. Coordinates have the 24 bits of float32. Nine bytes a point travel to the browser (ten from 257
    colours on, eight without); panning, zooming, hovering and selecting ask the kernel nothing.

    In the browser: Shift and drag for a lasso, arrow keys for the probe, Enter to click at the probe, Escape to select
    nothing. Every view announces the probe with a bubbling DOM event ``dlwidgets:pointer``, and clicks with
    ``dlwidgets:click``; their ``detail`` holds ``x``, ``y`` (data), ``index`` (-1: empty space), ``source``
    ("pointer" or "keyboard"), ``inside`` and the ``model``. `point_figure` makes a figure that fits.

    Args:
        x, y, color: see the traits; tensors and lists will do. Other keyword arguments are traits too.
        scales: ``x`` and ``y``, both linear; made here if missing. Without a fixed ``min`` and ``max`` they follow the
            finite points.

    Raises:
        TypeError: an unknown keyword argument.
        traitlets.TraitError: a value that its trait's help does not allow, or arrays of different length.
    """

    _view_name = traitlets.Unicode("PointCloud").tag(sync=True)
    _model_name = traitlets.Unicode("PointCloudModel").tag(sync=True)

    x = _Values(_none(), help="float32 (point,).").tag(sync=True, **array_serialization)
    y = _Values(_none(), help="float32 (point,).").tag(sync=True, **array_serialization)
    color = _Colors(
        None, allow_none=True, help="uint8 or uint16 (point,): indices into the palette; None is all 0."
    ).tag(sync=True, **array_serialization)
    palette = traitlets.List(
        traitlets.Unicode(), list(PALETTE), minlen=1, help="CSS colours; used again from the start when they run out."
    ).tag(sync=True)
    hidden = traitlets.List(
        traitlets.Int(), help="Colour indices whose points are neither drawn nor hovered nor selected."
    ).tag(sync=True)
    size = traitlets.Float(4.0, help="Diameter of a point in CSS pixels, from 1 to 64.").tag(sync=True)
    opacity = traitlets.Float(0.8, help="Of one point, above 0 and at most 1.").tag(sync=True)
    selected = _Indices(
        np.zeros(0, dtype=np.int32), help="int32: indices of the selected points; the others fade. Empty if none."
    ).tag(sync=True, echo_update=False, to_json=_wire, from_json=array_from_json)
    hovered = traitlets.Int(-1, help="Index of the point under the pointer or the probe, -1 if none.").tag(
        sync=True, echo_update=False
    )
    clicked = traitlets.Int(-1, help="Index of the point clicked last, -1 after a click on empty space.").tag(sync=True)
    pointer = traitlets.List(
        traitlets.Float(), help="[x, y] of the probe in data coordinates: where the pointer or the arrow keys are; []"
    ).tag(sync=True, echo_update=False)  # an echo of every move would travel in front of the answer to it
    drag = traitlets.Enum(
        ["pan", "lasso", "brush"],
        default_value="pan",
        help="What dragging does; 'pan' leaves it to the figure's interaction, and Shift then draws a lasso.",
    ).tag(sync=True)
    hover_radius = traitlets.Float(12.0, help="How near a point must be to be meant, in CSS pixels.").tag(sync=True)
    report_hover = traitlets.Bool(True, help="Whether the browser reports `hovered`, once a frame at most.").tag(
        sync=True
    )
    renderer = traitlets.Enum(
        ["auto", "gl", "cpu"],
        default_value="auto",
        help="'gl' draws by WebGL2, 'cpu' without; 'auto' takes WebGL2 where a graphics card does the work.",
    ).tag(sync=True)
    alt = traitlets.Unicode("", help="The content in words, for assistive technology; made up if empty.").tag(sync=True)

    scales_metadata = traitlets.Dict(
        {"x": {"orientation": "horizontal", "dimension": "x"}, "y": {"orientation": "vertical", "dimension": "y"}}
    ).tag(sync=True)

    def __init__(self, x: Any = (), y: Any = (), color: Any = None, **kwargs: Any) -> None:
        scales = dict(kwargs.pop("scales", None) or {})
        scales.setdefault("x", bqplot.LinearScale())
        scales.setdefault("y", bqplot.LinearScale())
        selected = kwargs.pop("selected", ())
        super().__init__(x=x, y=y, color=color, scales=scales, **kwargs)
        self.selected = selected

    @property
    def num_points(self) -> int:
        """How many points there are, drawn or not."""
        return len(self.x)

    @property
    def num_nonfinite(self) -> int:
        """How many points are not drawn because a coordinate is NaN or infinite (in float32)."""
        return int(self.num_points - np.count_nonzero(np.isfinite(self.x) & np.isfinite(self.y)))

    def set_points(self, x: Any, y: Any, color: Any = None) -> None:
        """Replace all points at once, in one message; the selection survives if their number stays the same.

        Raises:
            traitlets.TraitError: as the constructor does; everything stays as it was.
        """
        before = self.num_points
        with self.hold_sync():
            with self.hold_trait_notifications():
                self.x, self.y, self.color = x, y, color
            if self.num_points != before:
                self.selected = ()
                self.hovered = self.clicked = -1

    @traitlets.validate("x", "y", "color")
    def _check_lengths(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        lengths = {"x": len(self.x), "y": len(self.y)}
        if self.color is not None:
            lengths["color"] = len(self.color)
        if value is not None:
            lengths[name] = len(value)
        else:
            lengths.pop(name, None)
        if len(set(lengths.values())) > 1:
            words = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise traitlets.TraitError(f"x, y and color must be equally long: {words}; set_points changes them at once")
        return value

    @traitlets.validate("scales")
    def _validate_scales(self, proposal: Any) -> Any:
        for name in ("x", "y"):
            scale = proposal["value"].get(name)
            if not isinstance(scale, bqplot.LinearScale):
                raise traitlets.TraitError(f"scales: {name} must be a bqplot.LinearScale, got {type(scale).__name__}")
        return proposal["value"]

    @traitlets.validate("size", "opacity", "hover_radius")
    def _check_range(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {"size": (1, 64), "opacity": (0, 1), "hover_radius": (0, 100)}[name]
        if not low <= value <= high or (name == "opacity" and value == 0):
            raise traitlets.TraitError(f"{name} must be from {low} to {high}, got {value}")
        return value

    @traitlets.validate("pointer")
    def _check_pointer(self, proposal: Any) -> Any:
        pointer = proposal["value"]
        if pointer and (len(pointer) != 2 or not np.isfinite(pointer).all()):
            raise traitlets.TraitError(f"pointer must be [] or two finite numbers [x, y], got {pointer}")
        return pointer


def point_figure(cloud: PointCloud, *, title: str = "", height: int = 360, axes: bool = True) -> bqplot.Figure:
    """A figure around a cloud: dragging pans, the wheel zooms; wide enough for a phone.

    Args:
        cloud: the mark to show.
        title: a heading, also the figure's name for assistive technology.
        height: in CSS pixels; the width is what there is.
        axes: whether to number x and y.
    """
    x, y = cloud.scales["x"], cloud.scales["y"]
    around = [
        bqplot.Axis(scale=x, grid_lines="none"),
        bqplot.Axis(scale=y, orientation="vertical", grid_lines="none"),
    ]
    return bqplot.Figure(
        marks=[cloud],
        axes=around if axes else [],
        interaction=bqplot.PanZoom(scales={"x": [x], "y": [y]}),
        title=title,
        padding_x=0.025,
        fig_margin={"top": 32 if title else 8, "bottom": 28 if axes else 8, "left": 44 if axes else 8, "right": 8},
        display_toolbar=False,
        layout=ipywidgets.Layout(flex="1 1 280px", width="auto", min_width="240px", height=f"{height}px"),
    )
