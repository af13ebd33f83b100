"""A line that says in words what is hovered or pinned."""

from typing import Any

import ipywidgets
import traitlets

from dlwidgets.marks.field_map import FieldMap
from dlwidgets.marks.model import Model


class Readout(Model, ipywidgets.DOMWidget):
    """What the hovered or else the pinned cell of a linked `Raster` sees, in words, put together in the browser.

    Assistive technology hears what is pinned, not every hover.

    Args:
        linked: the same map that the pictures are linked by.
        text: what to say while nothing is hovered or pinned.
    """

    _model_name = traitlets.Unicode("ReadoutModel").tag(sync=True)
    _view_name = traitlets.Unicode("ReadoutView").tag(sync=True)

    linked = traitlets.Instance(FieldMap, allow_none=True).tag(sync=True, **ipywidgets.widget_serialization)
    text = traitlets.Unicode("").tag(sync=True)

    def __init__(self, linked: FieldMap | None = None, **kwargs: Any) -> None:
        super().__init__(linked=linked, **kwargs)
