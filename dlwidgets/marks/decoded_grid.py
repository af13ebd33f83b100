"""A decoder's pictures over a plane, from which the browser interpolates, and a picture of all of them."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets
from bqplot.traits import array_serialization
from traittypes import Array

from dlwidgets.marks.model import Model


class Bytes(Array):
    """An array of uint8 with one of the numbers of axes given."""

    def __init__(self, *num_axes: int, **kwargs: Any) -> None:
        super().__init__(None, allow_none=True, **kwargs)
        self.num_axes = num_axes

    def validate(self, _: Any, value: Any) -> Any:
        if value is None:
            return None
        array = np.ascontiguousarray(value)
        if array.dtype != np.uint8 or array.ndim not in self.num_axes:
            axes = " or ".join(map(str, self.num_axes))
            raise traitlets.TraitError(
                f"{self.name} must be uint8 with {axes} axes, got {array.dtype} with shape {array.shape}"
            )
        return array


class DecodedGrid(Model):
    """Pictures at the nodes of a grid, sent once; the browser interpolates between them without asking the kernel.

    Between nodes the four surrounding pictures are mixed (bilinear); outside the box the nearest place in it is shown,
    and said to be. Where a surrounding picture is missing there is none.

    Args:
        pictures, valid, box, curve: see the traits.

    Raises:
        TypeError: an unknown keyword argument.
        traitlets.TraitError: arrays of another type or shape, or a box without extent.
    """

    _model_name = traitlets.Unicode("DecodedGridModel").tag(sync=True)
    _view_name = traitlets.Unicode(None, allow_none=True).tag(sync=True)

    pictures = Bytes(
        4, 5, help="uint8 (row, column, height, width) or (row, column, height, width, 3); row 0 at the largest y."
    ).tag(sync=True, **array_serialization)
    valid = Bytes(2, help="uint8 (row, column): 0 where there is no picture; None: there is one everywhere.").tag(
        sync=True, **array_serialization
    )
    box = traitlets.List(
        traitlets.Float(), [0.0, 1.0, 0.0, 1.0], help="x of the first and last column, y of the last and first row."
    ).tag(sync=True)
    curve = traitlets.Bool(False, help="Whether a picture is one row, the heights of a curve.").tag(sync=True)

    @traitlets.validate("box")
    def _check_box(self, proposal: Any) -> Any:
        box = proposal["value"]
        if len(box) != 4 or not np.isfinite(box).all() or box[0] >= box[1] or box[2] >= box[3]:
            raise traitlets.TraitError(f"box must be [x_low, x_high, y_low, y_high], finite and rising, got {box}")
        return box


@bqplot.marks.register_mark("dlwidgets.Manifold")
class Manifold(Model, bqplot.Mark):
    """All of a `DecodedGrid` as one picture of many small ones, finer as the plane is magnified.

    Args:
        grid: what to show.
        opacity: from 0, hidden, to 1.
        scales: ``x`` and ``y``, both linear.
    """

    _view_name = traitlets.Unicode("Manifold").tag(sync=True)
    _model_name = traitlets.Unicode("ManifoldModel").tag(sync=True)

    grid = traitlets.Instance(DecodedGrid).tag(sync=True, **ipywidgets.widget_serialization)
    opacity = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)

    scales_metadata = traitlets.Dict(
        {"x": {"orientation": "horizontal", "dimension": "x"}, "y": {"orientation": "vertical", "dimension": "y"}}
    ).tag(sync=True)

    def __init__(self, grid: DecodedGrid, **kwargs: Any) -> None:
        super().__init__(grid=grid, **kwargs)
