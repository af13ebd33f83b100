"""The plane of LatentSpaceExplorer: points, contours, a path and the manifold, and the pictures beside it."""

from typing import TYPE_CHECKING, Any

import bqplot
import ipywidgets
import numpy as np

from dlwidgets.marks.decoded_grid import DecodedGrid, Manifold
from dlwidgets.marks.decoded_picture import DecodedPicture, PointLegend
from dlwidgets.marks.point_cloud import MAX_COLORS, PALETTE, PointCloud, point_figure
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.latent_space_words import axis_names, class_names, describe_bars, named, of_model

if TYPE_CHECKING:
    from dlwidgets.compute.latent_space.probing import Look, Place, Walk
    from dlwidgets.compute.latent_space.scene import Scene

MAX_LANES, MAX_LETTERS = 20, 6  # so many classes are named at the axis, in so many letters
PAPER = "var(--jp-layout-color0, #ffffff)"
PRIOR_COLOR, DATA_COLOR, OWN_COLOR, PATH_COLOR = "#808080", "#d55e00", "#cc79a7", "#009e73"
KL_TITLE, KL_TITLE_BACK = "KL by dimension, in nats", "KL of the trained model, nats"
BAR_COLORS = [PALETTE[0], OWN_COLOR]


class LatentPlane:
    """Made once; each ``show_...`` assigns what has changed.

    Attributes:
        cloud: the codes of the images; its probe is what is decoded.
        grid, manifold: the decoder's pictures over the plane.
        prior, aggregated, posterior: outlines of the prior, of all codes together, and of the image at the probe.
        halo: what sets the first two apart from the points below them.
        path, ends: a path and what it is dragged by.
        figure, picture, legend: what is displayed.
    """

    def __init__(self) -> None:
        self.grid = DecodedGrid()
        self.cloud = PointCloud(size=5, opacity=0.75)
        scales = self.cloud.scales
        self.manifold = Manifold(self.grid, scales=scales)
        self.halo = _outline(scales, [PAPER], "solid", 4)
        self.prior = _outline(scales, [PRIOR_COLOR], "dashed", 2)
        self.aggregated = _outline(scales, [DATA_COLOR], "solid", 2)
        self.posterior = _outline(scales, [OWN_COLOR], "solid", 2.5)
        self.path = bqplot.Lines(
            x=np.zeros(2), y=np.zeros(2), scales=scales, colors=[PATH_COLOR], stroke_width=3, visible=False
        )
        self.ends = bqplot.Scatter(
            x=np.zeros(2),
            y=np.zeros(2),
            scales=scales,
            colors=[PATH_COLOR],
            stroke="#ffffff",
            default_size=180,
            enable_move=True,
            update_on_move=True,
            visible=False,
        )
        self.figure = point_figure(self.cloud)
        self.figure.marks = [
            self.manifold,
            self.cloud,
            self.halo,
            self.prior,
            self.aggregated,
            self.posterior,
            self.path,
            self.ends,
        ]
        self.figure.layout.height, self.figure.layout.flex = "auto", "3 1 320px"  # the style sheet makes it a square
        self.figure.add_class("dlw-latent-plane")
        self.figure.fig_margin = {"top": 8, "bottom": 40, "left": 48, "right": 8}
        self.pan_zoom = self.figure.interaction
        self.picture = DecodedPicture(self.grid, self.cloud)
        self.legend = PointLegend(self.cloud)
        self._has_own, self._only_prior = False, False

    def show_scene(self, scene: "Scene", keep_range: bool = False) -> None:
        """Another space or plane; ``keep_range`` leaves panned and zoomed scales alone."""
        from dlwidgets.compute.latent_space.probing import shared_outlines

        space, (x_range, y_range) = scene.space, scene.box
        if not keep_range:
            self.show_range(scene.box)
        colors = None if space.labels is None else space.labels.clamp(max=MAX_COLORS - 1)
        self.cloud.set_points(to_plot(scene.points[:, 0]), to_plot(scene.points[:, 1]), colors)
        if scene.grid is None:
            self.grid.pictures = self.grid.valid = None
        else:
            values = scene.grid.values
            shape = (scene.num_rows, scene.num_columns, *values.shape[1:])
            self.grid.pictures = to_plot(values.reshape(shape))
            valid = scene.grid.valid
            everywhere = bool(valid.all())
            self.grid.valid = None if everywhere else to_plot(valid.reshape(scene.num_rows, scene.num_columns))
            self.grid.curve = scene.grid.curve
        self.grid.box = [*x_range, *y_range]
        names = class_names(space)
        self.legend.classes = self.picture.classes = names
        self.picture.axis_names = axes = axis_names(scene)
        for axis, name in zip(self.figure.axes, [*axes, "class" if names else ""], strict=False):
            axis.label = name
        self._number_lanes(names if space.latent_dim == 1 else None)
        self.picture.exact, self.picture.exact_at = None, []
        self.picture.looked_at = -1
        self.picture.images = None if scene.images is None else to_plot(scene.images.values)
        self.picture.image_curve = scene.images is not None and scene.images.curve
        again = scene.reconstructions
        self.picture.reconstructions = None if again is None else to_plot(again.values)
        prior, aggregated = shared_outlines(scene)
        _draw(self.halo, (*prior, *aggregated))
        _draw(self.prior, prior)
        _draw(self.aggregated, aggregated)
        _draw(self.posterior, ())
        self._has_own, self._only_prior = False, False

    def show_range(self, box: Any) -> None:
        """The part of the plane to show."""
        for name, (low, high) in zip("xy", box, strict=True):
            self.cloud.scales[name].min, self.cloud.scales[name].max = low, high

    def _number_lanes(self, names: list[str] | None) -> None:
        """With one latent dimension the height is a class, or means nothing (no names); None: it is a number."""
        axis = self.figure.axes[1]
        axis.visible = names is None or len(names) > 0
        axis.tick_values = axis.tick_labels = None
        if names and len(names) <= MAX_LANES:
            axis.tick_values = np.arange(len(names), dtype=np.float32)
            axis.tick_labels = {
                str(lane): name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"
                for lane, name in enumerate(names)
            }

    def show_points(self, points: Any) -> None:
        """Move the points, and nothing else; those that are NaN are left out."""
        with self.cloud.hold_sync(), self.cloud.hold_trait_notifications():
            self.cloud.x, self.cloud.y = to_plot(points[:, 0]), to_plot(points[:, 1])

    def show_contours(self, shown: bool, only_prior: bool = False) -> None:
        """The outlines of the prior and of the data's codes together; ``only_prior`` hides what a model encodes."""
        if self._only_prior != only_prior:
            self._only_prior = only_prior
            parts = [self.prior] if only_prior else [self.prior, self.aggregated]
            self.halo.x, self.halo.y = (
                np.vstack([getattr(part, name) for part in parts if len(part.x)] or [np.zeros((0, 2))]) for name in "xy"
            )
        self.halo.visible = shown and len(self.halo.x) > 0
        self.prior.visible = shown and len(self.prior.x) > 0
        self.aggregated.visible = shown and len(self.aggregated.x) > 0 and not only_prior
        self.posterior.visible = self._has_own and not only_prior

    def show_place(self, place: "Place") -> None:
        """The exact picture of a place, or that there is none."""
        self.picture.exact = None if place.picture is None else to_plot(place.picture.values[0])
        self.picture.exact_at, self.picture.estimated = list(place.point), not place.exact

    def show_look(self, look: "Look | None") -> None:
        """What the kernel knows of the image at the probe; None hides its outline."""
        self._has_own = look is not None and len(look.outlines) > 0
        if look is None:
            return
        if self.picture.images is None:
            self.picture.looked_image = to_plot(look.image.values[0])
            self.picture.image_curve = look.image.curve
        again = look.reconstruction
        self.picture.looked_reconstruction = None if again is None else to_plot(again.values[0])
        self.picture.looked_at = look.index
        _draw(self.posterior, look.outlines)

    def show_path(self, walk: "Walk | None", ends: Any) -> None:
        """A path and its ends. Without ends (None) panning comes back; ends without a path can still be dragged."""
        self.path.visible, self.ends.visible = walk is not None, ends is not None
        self.figure.interaction = self.pan_zoom if ends is None else None
        if walk is not None:
            self.path.x, self.path.y = to_plot(walk.points[:, 0]), to_plot(walk.points[:, 1])
        if ends is not None:
            (x0, y0), (x1, y1) = ends
            if not np.array_equal(self.ends.x, [x0, x1]) or not np.array_equal(self.ends.y, [y0, y1]):
                self.ends.x, self.ends.y = np.array([x0, x1]), np.array([y0, y1])


class KLBars:
    """The KL term of each latent dimension: of all images, and of that at the probe; no bar where it is not finite."""

    MAX_DIMENSIONS = 32

    def __init__(self) -> None:
        scales = {"x": bqplot.OrdinalScale(), "y": bqplot.LinearScale(min=0.0)}
        self.bars = bqplot.Bars(
            x=np.array(["z1"]),
            y=np.zeros((1, 1)),
            scales=scales,
            type="grouped",
            padding=0.25,
            colors=BAR_COLORS[:1],
        )
        self._ruler = bqplot.Axis(scale=scales["y"], orientation="vertical", tick_format=".2~g", grid_lines="none")
        self.figure = bqplot.Figure(
            marks=[self.bars],
            axes=[bqplot.Axis(scale=scales["x"], grid_lines="none"), self._ruler],
            title=KL_TITLE,
            fig_margin={"top": 28, "bottom": 26, "left": 40, "right": 8},
            padding_y=0,
            display_toolbar=False,
            layout=ipywidgets.Layout(width="100%", min_width="200px", height="130px"),
        )
        self._key = ipywidgets.Label()
        self._key.add_class("dlw-latent-words")
        self.box = ipywidgets.VBox()
        self._average: np.ndarray | None = None
        self._noun = "image"
        self.parts = [self.figure, self._key]

    def show(self, average: Any, noun: str = "image") -> None:
        """The average over all images, or what they are called; None: a deterministic encoder, no bars."""
        self._noun = noun
        self._average = None if average is None else to_plot(average)[: self.MAX_DIMENSIONS]
        self.box.children = [] if average is None else self.parts
        self.show_own(None)

    def show_own(self, look: "Look | None", back: bool = False) -> None:
        """The image at the probe; None: there is none. ``back``: beside the points of an older epoch."""
        values = self._average
        if values is None:
            return
        own = None if look is None else look.kl
        index = None if look is None or own is None else look.index
        rows = [values] if own is None else [values, to_plot(own)[: self.MAX_DIMENSIONS]]
        if len(self.bars.x) != len(values):
            self.bars.x = np.array([f"z{i + 1}" for i in range(len(values))])
        both = np.stack(rows)  # a single bar stands over its name
        self.bars.y = np.where(np.isfinite(both), both, np.float32(0))
        self._key.value = of_model(named(describe_bars(np.isfinite(both).all(0), index), self._noun), back)
        self.figure.title = KL_TITLE_BACK if back else KL_TITLE
        self.bars.colors = BAR_COLORS[: len(rows)]  # of a single row, bqplot gives every bar the next colour
        # bqplot 0.6.1 finds no domain by itself for grouped bars
        top = float(max(self.bars.y.max(), 0.1))
        self.bars.scales["y"].max, self._ruler.tick_values = 1.15 * top, np.array([0.0, top])


def _outline(scales: Any, colors: list[str], style: str, width: float = 1.5) -> bqplot.Lines:
    return bqplot.Lines(
        x=np.zeros((0, 2)),
        y=np.zeros((0, 2)),
        scales=scales,
        colors=colors,
        line_style=style,
        stroke_width=width,
        visible=False,
        preserve_domain={"x": True, "y": True},
    )


def _draw(lines: bqplot.Lines, outlines: Any) -> None:
    closed = [to_plot(outline)[[*range(len(outline)), 0]] for outline in outlines]
    if not closed:
        lines.visible = False
        lines.x = lines.y = np.zeros((0, 2))
        return
    lines.x = np.stack([outline[:, 0] for outline in closed])
    lines.y = np.stack([outline[:, 1] for outline in closed])
