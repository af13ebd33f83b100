"""What the decoder makes of the place under the probe, rows of small pictures, and a legend that hides classes."""

from typing import Any

import ipywidgets
import traitlets
from bqplot.traits import array_serialization

from dlwidgets.marks.decoded_grid import Bytes, DecodedGrid
from dlwidgets.marks.model import Model
from dlwidgets.marks.point_cloud import PointCloud


class DecodedPicture(Model, ipywidgets.DOMWidget):
    """The picture at the probe of a `PointCloud`, and beside it the hovered or clicked point's image, reconstructed.

    The browser interpolates in the `grid` as the probe moves. Once the kernel has put the true picture into `exact`
    and its place into `exact_at`, that one is shown; the caption says which of the two it is.

    Args:
        grid: the decoder's pictures.
        cloud: whose probe to follow.
    """

    _model_name = traitlets.Unicode("DecodedPictureModel").tag(sync=True)
    _view_name = traitlets.Unicode("DecodedPictureView").tag(sync=True)

    grid = traitlets.Instance(DecodedGrid).tag(sync=True, **ipywidgets.widget_serialization)
    cloud = traitlets.Instance(PointCloud).tag(sync=True, **ipywidgets.widget_serialization)
    others = traitlets.List(
        traitlets.Instance(PointCloud), help="Clouds whose probe the own cloud's probe follows, in the browser."
    ).tag(sync=True, **ipywidgets.widget_serialization)
    axis_names = traitlets.List(
        traitlets.Unicode(), ["z1", "z2"], help="What to call x and y; one name if y means nothing."
    ).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode(), help="A name for every colour of the cloud.").tag(sync=True)
    exact = Bytes(2, 3, help="uint8 (height, width) or with 3 colours; None: the decoder gives no picture.").tag(
        sync=True, **array_serialization
    )
    exact_at = traitlets.List(traitlets.Float(), help="[x, y] that `exact` belongs to.").tag(sync=True)
    estimated = traitlets.Bool(False, help="Whether the code that `exact` was decoded from is only an estimate.").tag(
        sync=True
    )
    images = Bytes(3, 4, help="The picture of every point; None if they are too many to send.").tag(
        sync=True, **array_serialization
    )
    reconstructions = Bytes(3, 4, help="The reconstruction of every point.").tag(sync=True, **array_serialization)
    looked_at = traitlets.Int(-1, help="The index of the point that the next two belong to.").tag(sync=True)
    looked_image = Bytes(2, 3).tag(sync=True, **array_serialization)
    looked_reconstruction = Bytes(2, 3).tag(sync=True, **array_serialization)
    image_curve = traitlets.Bool(False, help="Whether the points' own pictures are curves.").tag(sync=True)

    def __init__(self, grid: DecodedGrid, cloud: PointCloud, **kwargs: Any) -> None:
        super().__init__(grid=grid, cloud=cloud, **kwargs)


class Filmstrip(Model, ipywidgets.DOMWidget):
    """A row of small pictures under a title; nothing while there are none."""

    _model_name = traitlets.Unicode("FilmstripModel").tag(sync=True)
    _view_name = traitlets.Unicode("FilmstripView").tag(sync=True)

    pictures = Bytes(3, 4, help="uint8 (picture, height, width) or with 3 colours.").tag(
        sync=True, **array_serialization
    )
    valid = Bytes(1, help="uint8 (picture,): 0 where there is none.").tag(sync=True, **array_serialization)
    captions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    curve = traitlets.Bool(False, help="Whether a picture is one row, the heights of a curve.").tag(sync=True)


class PointLegend(Model, ipywidgets.DOMWidget):
    """The classes of a `PointCloud` in their colours; a click hides or shows one, in the browser.

    Args:
        cloud: whose colours.
        classes: their names, in the order of the colour indices.
    """

    _model_name = traitlets.Unicode("PointLegendModel").tag(sync=True)
    _view_name = traitlets.Unicode("PointLegendView").tag(sync=True)

    cloud = traitlets.Instance(PointCloud).tag(sync=True, **ipywidgets.widget_serialization)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, cloud: PointCloud, **kwargs: Any) -> None:
        super().__init__(cloud=cloud, **kwargs)
