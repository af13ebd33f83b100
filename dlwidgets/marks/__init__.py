"""The Python side of our bqplot marks and of the models that link them, one file each."""

from dlwidgets.marks.cell_readout import CellReadout
from dlwidgets.marks.field_map import FieldMap
from dlwidgets.marks.palette import CIVIDIS, DIVERGING, OKABE_ITO, diverging_scale, sequential_scale
from dlwidgets.marks.point_cloud import PointCloud, point_figure
from dlwidgets.marks.raster import Raster, raster_figure
from dlwidgets.marks.readout import Readout

__all__ = [
    "CIVIDIS",
    "DIVERGING",
    "OKABE_ITO",
    "CellReadout",
    "FieldMap",
    "PointCloud",
    "Raster",
    "Readout",
    "diverging_scale",
    "point_figure",
    "raster_figure",
    "sequential_scale",
]
