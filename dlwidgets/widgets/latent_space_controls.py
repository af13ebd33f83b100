"""The controls below the plane of LatentSpaceExplorer."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ipywidgets

from dlwidgets.widgets.base import hide
from dlwidgets.widgets.latent_space_words import axis_names

if TYPE_CHECKING:
    from dlwidgets.compute.latent_space.scene import Scene

MAX_SLIDERS = 16
SLIDER_STEP = 0.01


class PlaneControls:
    """Made once; `show_scene` fits them to a space.

    Attributes:
        typed: the code of the probe, as text.
        drag: what dragging on the plane does.
        manifold, contours: what is drawn besides the points.
        path, kind, prior: what is shown below.
        view, x, y: which plane; only for more than two latent dimensions.
        box: all of them.
    """

    def __init__(self) -> None:
        self.typed = ipywidgets.Text(
            description="z",
            placeholder="0.3, -1.2",
            continuous_update=False,
            style={"description_width": "14px"},
            layout={"width": "200px"},
        )
        self.drag = ipywidgets.ToggleButtons(
            options=[("move", "pan"), ("lasso", "lasso"), ("brush", "brush")],
            tooltips=["drag to move the plane", "drag around points to select them", "drag a box around points"],
            style={"button_width": "60px"},
            layout={"width": "max-content"},
        )
        self.manifold = ipywidgets.FloatSlider(
            min=0.0,
            max=1.0,
            step=0.05,
            description="manifold",
            readout=False,
            style={"description_width": "60px"},
            layout={"width": "210px"},
        )
        self.contours = _toggle(
            "contours", "grey: the prior N(0, I); orange: the posteriors of all images together", 92
        )
        self.path = _toggle("path", "pictures along a path; drag its ends, or click two places", 64)
        self.kind = ipywidgets.Dropdown(options=["linear", "spherical"], layout={"width": "100px"})
        self.prior = ipywidgets.Button(
            description="samples of the prior",
            tooltip="decode samples of N(0, I); again: new ones",
            layout={"width": "170px"},
        )
        self.view = ipywidgets.Dropdown(
            options=[("principal components", "pca"), ("two dimensions", "plane"), ("UMAP, approximate", "umap")],
            description="plane",
            style={"description_width": "42px"},
            layout={"width": "232px"},
        )
        narrow = {"style": {"description_width": "14px"}, "layout": {"width": "90px"}}
        self.x = ipywidgets.Dropdown(description="x", **narrow)
        self.y = ipywidgets.Dropdown(description="y", **narrow)
        self._rest = ipywidgets.Box()
        self._rest.add_class("dlw-latent-controls")
        self._sliders: list[ipywidgets.FloatSlider] = []
        self._moved: Callable[[], None] | None = None
        along = ipywidgets.HBox([self.path, self.kind])
        first = ipywidgets.Box(
            [self.drag, self.contours, self.manifold, self.typed, along, self.prior],
        )
        self._second = ipywidgets.Box([self.view, self.x, self.y], layout={"display": "none"})
        for box in (first, self._second):
            box.add_class("dlw-latent-controls")
        self.box = ipywidgets.VBox([first, self._second, self._rest])

    def names(self) -> list[tuple[ipywidgets.Widget, str]]:
        """What each control is called, for assistive technology."""
        return [
            (self.typed, "Code of the probe, numbers separated by commas"),
            (self.drag, "What dragging does"),
            (self.manifold, "How strongly the decoded plane shows"),
            (self.contours, "Contours of the prior and of all codes"),
            (self.path, "Path"),
            (self.kind, "Kind of path"),
            (self.prior, "Samples of the prior"),
            (self.view, "Which plane"),
            (self.x, "Dimension along x"),
            (self.y, "Dimension along y"),
        ]

    def on_rest(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` when a slider of the remaining dimensions moves."""
        self._moved = handler

    def moved(self, code: Sequence[float]) -> dict[int, float]:
        """The remaining dimensions whose slider was moved away from ``code``, and where to.

        The browser puts a slider that it shows on a step, and tells so as if a person had moved it: at most half a
        step is no move.
        """
        values = {dim: self._sliders[dim].value for dim in self._remaining}
        return {dim: value for dim, value in values.items() if abs(value - code[dim]) > 0.5001 * SLIDER_STEP}

    def show_scene(self, scene: "Scene") -> None:
        """Which dimensions there are, and where the plane goes through the others."""
        num_latent = scene.space.latent_dim
        self._remaining: list[int] = []
        self.typed.layout.width = "200px" if num_latent <= 2 else "270px"
        self._second.layout.display = None if num_latent > 2 else "none"
        hide(self.manifold, scene.grid is None or scene.grid.curve)  # of curves there is none
        if num_latent <= 2:
            return
        options = [(f"z{i + 1}", i) for i in range(num_latent)]
        if len(self.x.options) != num_latent:
            self.x.options = self.y.options = options
            self._sliders = [self._slider(i) for i in range(min(num_latent, MAX_SLIDERS))]
        on_axes = scene.plane.projection is None
        self.view.value = view_of(scene)
        self.x.value, self.y.value = scene.plane.dims
        self.x.layout.display = self.y.layout.display = None if on_axes else "none"
        if on_axes:
            self._remaining = [i for i in range(len(self._sliders)) if f"z{i + 1}" not in axis_names(scene)]
        for dim in self._remaining:
            slider, (low, high) = self._sliders[dim], scene.latent_box[dim]
            value = float(scene.plane.at[dim])
            slider.min, slider.max = min(slider.min, low, value), max(slider.max, high, value)
            slider.value = value
        children = tuple(self._sliders[dim] for dim in self._remaining)
        if self._rest.children != children:
            self._rest.children = children

    def _slider(self, dim: int) -> ipywidgets.FloatSlider:
        slider = ipywidgets.FloatSlider(
            value=0.0,
            min=-0.1,
            max=0.1,
            step=SLIDER_STEP,
            description=f"z{dim + 1}",
            style={"description_width": "28px"},
            layout={"width": "210px"},
        )
        slider.observe(lambda _: self._moved() if self._moved else None, "value")
        return slider


def view_of(scene: "Scene") -> str:
    """Which choice of plane a scene shows."""
    if scene.plane.projection is None:
        return "plane"
    return "pca" if scene.plane.exact else "umap"


def _toggle(words: str, tooltip: str, width: int) -> ipywidgets.ToggleButton:
    return ipywidgets.ToggleButton(description=words, tooltip=tooltip, layout={"width": f"{width}px"})
