"""A line that says in words what number the hovered or pinned cell of a picture holds."""

from typing import Any

import ipywidgets
import traitlets
from bqplot.traits import array_serialization
from traittypes import Array

from dlwidgets.marks.model import Model
from dlwidgets.marks.raster import Raster


class CellReadout(Model, ipywidgets.DOMWidget):
    """The number in the hovered or else the pinned cell of a `Raster`, with the names of its row and column.

    The browser puts it together from the picture itself, without asking the kernel. Assistive technology hears what is
    pinned, not every hover.

    Args:
        raster: a picture of float32 numbers that reports hovering.
    """

    _model_name = traitlets.Unicode("CellReadoutModel").tag(sync=True)
    _view_name = traitlets.Unicode("CellReadoutView").tag(sync=True)

    raster = traitlets.Instance(Raster, allow_none=True).tag(sync=True, **ipywidgets.widget_serialization)
    rows = traitlets.List(traitlets.Unicode(), help="What each row is called.").tag(sync=True)
    columns = traitlets.List(traitlets.Unicode(), help="What each column is called.").tag(sync=True)
    quantity = traitlets.Unicode("", help="What the numbers are.").tag(sync=True)
    logarithmic = traitlets.Bool(False, help="Whether the picture holds common logarithms of what is to be said.").tag(
        sync=True
    )
    missing = Array(
        None,
        allow_none=True,
        help="uint8 (rows, columns): for each cell without a number, which of `reasons` says why; None if unknown.",
    ).tag(sync=True, **array_serialization)
    reasons = traitlets.List(traitlets.Unicode(), help="What to say instead of a number.").tag(sync=True)
    text = traitlets.Unicode("", help="What to say while nothing is hovered or pinned.").tag(sync=True)

    def __init__(self, raster: Raster | None = None, **kwargs: Any) -> None:
        super().__init__(raster=raster, **kwargs)
