"""The rows of small pictures below the plane: what is selected, a path, one image encoded again, the prior."""

from typing import TYPE_CHECKING, Any

import bqplot
import ipywidgets
import numpy as np

from dlwidgets.marks.decoded_picture import Filmstrip
from dlwidgets.marks.point_cloud import PALETTE
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.base import visible
from dlwidgets.widgets.latent_space_words import describe_coverage, describe_use, named, number, of_model, spelled

if TYPE_CHECKING:
    from dlwidgets.compute.latent_space.pictures import Pictures
    from dlwidgets.compute.latent_space.probing import Encodings, PriorReport, Walk

MAX_SHOWN = 24
MAX_CLASSES = 40


def show_pictures(strip: Filmstrip, pictures: "Pictures | None", title: str, captions: Any = ()) -> None:
    """Fill a strip; None empties it."""
    strip.title = title
    strip.captions = [visible(caption) for caption in captions]
    strip.pictures = None if pictures is None else to_plot(pictures.values)
    strip.valid = None if pictures is None or bool(pictures.valid.all()) else to_plot(pictures.valid)
    strip.curve = pictures is not None and pictures.curve


def show_path(strip: Filmstrip, walk: "Walk | None", kind: str) -> None:
    """The pictures along a path."""
    if walk is None:
        show_pictures(strip, None, "")
    else:
        show_pictures(strip, walk.pictures, f"Along the {kind} path, {number(walk.length)} long: drag its ends.")


def show_encodings(strip: Filmstrip, encodings: "Encodings | None", noun: str = "image", back: bool = False) -> None:
    """One image, or what it is called, encoded several times."""
    if encodings is None:
        show_pictures(strip, None, "")
        return
    count = len(encodings.codes)
    what = "a new z each time" if encodings.stochastic else "a deterministic encoder gives the same z each time"
    title = f"The clicked {noun} {encodings.index} encoded {count} times and decoded: {what}."
    captions = [spelled(code[:2]) for code in encodings.codes] if encodings.codes.shape[1] <= 2 else []
    show_pictures(strip, encodings.pictures, of_model(title, back), captions)


class PriorPictures:
    """Samples of the prior, decoded, and a histogram of the classes they look like."""

    def __init__(self) -> None:
        self.strip = Filmstrip()
        scales = {"x": bqplot.OrdinalScale(), "y": bqplot.LinearScale(min=0.0)}
        self.bars = bqplot.Bars(x=np.array(["0"]), y=np.zeros(1), scales=scales, colors=list(PALETTE), padding=0.2)
        self._ruler = bqplot.Axis(scale=scales["y"], orientation="vertical", tick_format=".0%", grid_lines="none")
        self.figure = bqplot.Figure(
            marks=[self.bars],
            axes=[bqplot.Axis(scale=scales["x"], grid_lines="none"), self._ruler],
            padding_y=0,
            title="classes of the prior's samples",
            fig_margin={"top": 32, "bottom": 26, "left": 44, "right": 8},
            display_toolbar=False,
            layout=ipywidgets.Layout(width="100%", min_width="200px", height="150px"),
        )
        self.box = ipywidgets.VBox([self.strip])
        self.box.add_class("dlw-latent-prior")

    def show(self, report: "PriorReport | None", noun: str = "image", back: bool = False) -> None:
        """None hides both."""
        if report is None:
            show_pictures(self.strip, None, "")
            self.box.children = [self.strip]
            return
        coverage = report.coverage
        title = of_model(named(f"{describe_coverage(coverage)}.{describe_use(report)}", noun), back)
        show_pictures(self.strip, report.samples, title)
        shown = coverage is not None and 1 < len(coverage.classes) <= MAX_CLASSES
        self.box.children = [self.strip, self.figure] if shown else [self.strip]
        if coverage is not None and shown:
            self.bars.x = np.array([visible(str(name)) for name in coverage.classes])
            self.bars.y = share = to_plot(coverage.share)
            top = float(share.max(initial=0.02))
            self.bars.scales["y"].max, self._ruler.tick_values = 1.15 * top, np.array([0.0, top])
