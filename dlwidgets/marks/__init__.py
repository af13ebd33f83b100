"""The Python side of our bqplot marks and of the models that link them, one file each."""

from dlwidgets.marks.field_map import FieldMap
from dlwidgets.marks.palette import CIVIDIS, DIVERGING, OKABE_ITO, diverging_scale, sequential_scale
from dlwidgets.marks.raster import Raster, raster_figure
from dlwidgets.marks.readout import Readout

__all__ = [
    "CIVIDIS",
    "DIVERGING",
    "OKABE_ITO",
    "FieldMap",
    "Raster",
    "Readout",
    "diverging_scale",
    "raster_figure",
    "sequential_scale",
]
