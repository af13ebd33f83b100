"""A small network edited by hand, and the fields that it makes: the three ways to grow one, side by side."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from dlwidgets.widgets.receptive_field import ReceptiveFieldViewer
from dlwidgets.widgets.tree import walk

if TYPE_CHECKING:
    from dlwidgets.compute.receptive_field.stack import Row

SETTINGS = ("kernel_size", "stride", "dilation", "padding")


class LayerEditor:
    """A table with a row of numbers for each layer.

    Args:
        limits: the greatest number that each setting takes.
        on_change: called with the rows (dicts of settings) after a person changed one.
        label: gives a control its accessible name.

    Attributes:
        box: the table and the button that adds a layer.
    """

    def __init__(
        self,
        limits: dict[str, int],
        on_change: Callable[[list[dict[str, Any]]], None],
        label: Callable[[ipywidgets.Widget, str], None],
    ) -> None:
        self._limits, self._on_change, self._label = limits, on_change, label
        self._showing = False
        self._rows: list[dict[str, ipywidgets.Widget]] = []
        heads = [ipywidgets.Label(text) for text in ("", "kernel", "stride", "dilation", "padding", "pool", "")]
        self._heads = heads
        self._grid = ipywidgets.GridBox(
            heads,
            layout={"grid_template_columns": "1.2em repeat(4, minmax(36px, 68px)) 36px 36px", "grid_gap": "2px 4px"},
        )
        self._add = ipywidgets.Button(description="add a layer", layout={"width": "140px"})
        self._add.on_click(lambda _: self._on_change([*self.values(), {"kernel_size": 3}]))
        self.box = ipywidgets.VBox([self._grid, self._add])

    def values(self) -> list[dict[str, Any]]:
        """The rows as a person left them."""
        return [{name: row[name].value for name in (*SETTINGS, "pool")} for row in self._rows]

    def show(self, rows: "Sequence[Row]") -> None:
        """Show these rows; what is there already is used again."""
        self._showing = True
        try:
            while len(self._rows) < len(rows):
                self._rows.append(self._make_row(len(self._rows)))
            surplus, self._rows = self._rows[len(rows) :], self._rows[: len(rows)]
            for row, widgets in zip(rows, self._rows, strict=True):
                for name, value in row.as_dict().items():
                    widgets[name].value = value
                widgets["remove"].disabled = len(rows) == 1
            self._grid.children = [*self._heads, *[each for widgets in self._rows for each in widgets.values()]]
            for removed in surplus:
                for widget in removed.values():
                    for model in list(walk(widget)):
                        model.close()
        finally:
            self._showing = False

    def _make_row(self, index: int) -> dict[str, ipywidgets.Widget]:
        widgets: dict[str, ipywidgets.Widget] = {"number": ipywidgets.Label(str(index + 1))}
        for name in SETTINGS:
            widgets[name] = ipywidgets.BoundedIntText(
                min=0 if name == "padding" else 1, max=self._limits[name], layout={"width": "auto"}
            )
            self._label(widgets[name], f"Layer {index + 1}: {name.replace('_', ' ')}")
        widgets["pool"] = ipywidgets.Checkbox(indent=False, layout={"width": "auto"})
        self._label(widgets["pool"], f"Layer {index + 1}: max pooling")
        widgets["remove"] = ipywidgets.Button(description="✕", tooltip="remove this layer", layout={"width": "36px"})
        self._label(widgets["remove"], f"Remove layer {index + 1}")
        for name in (*SETTINGS, "pool"):
            widgets[name].observe(self._changed, "value")
        widgets["remove"].on_click(lambda _: self._on_change(self.values()[:index] + self.values()[index + 1 :]))
        return widgets

    def _changed(self, _: Any) -> None:
        if not self._showing:
            self._on_change(self.values())


class LayerStackViewer(ReceptiveFieldViewer):
    """A `ReceptiveFieldViewer` of a small stack whose rows can be edited, if wanted with a second one beside it.

    >>> viewer = ReceptiveFieldViewer.from_layers([{"kernel_size": 3}, {"kernel_size": 3, "stride": 2}])
    >>> viewer.layers = [{"kernel_size": 3, "dilation": 2}]

    Args:
        layers: the layers: dicts of ``kernel_size``, ``stride``, ``dilation``, ``padding`` and ``pool`` (True: a max
            pooling), or square Conv2d, MaxPool2d and AvgPool2d modules, of which only these settings are used.
        other: the layers of a second stack beside it.
        size: rows and columns of the input.
        image: the image under it; default a photograph.
        **kwargs: as of `ReceptiveFieldViewer`.

    Attributes:
        other: the viewer beside it, or None.

    Raises:
        TypeError: ``layers`` is no list, or a layer no dict or module.
        ValueError: no layers, or a setting that is unknown or out of range.
    """

    layers = traitlets.Any(help="The layers: a tuple of dicts of settings; may be set to a new list.")

    def __init__(
        self, layers: Any, other: Any = None, *, size: tuple[int, int] = (48, 48), image: Any = None, **kwargs: Any
    ) -> None:
        from dlwidgets.compute.receptive_field.stack import LARGEST, build_stack, to_rows

        rows = to_rows(layers)
        others = None if other is None else to_rows(other)
        super().__init__(build_stack(rows), (1, 1, *size), image=image, **kwargs)
        self.other: LayerStackViewer | None = None
        self._editor = LayerEditor(LARGEST, self._react(self._on_edit), self._label)
        self._compare = ipywidgets.Button(description="compare with a copy", layout={"width": "180px"})
        self._compare.on_click(self._react(lambda _: self._add_other(self.layers)))
        self._single = [self._editor.box, *self.children]
        self._assign(layers=rows)
        self._editor.show(rows)
        self.observe(self._unless_assigning(self._on_layers), "layers")
        self.children = [*self._single, self._compare]
        if others is not None:
            self._add_other(others)

    @traitlets.validate("layers")
    def _check_layers(self, proposal: Any) -> tuple[dict[str, Any], ...]:
        from dlwidgets.compute.receptive_field.stack import to_rows

        return tuple(row.as_dict() for row in to_rows(proposal["value"]))

    def _on_edit(self, rows: list[dict[str, Any]]) -> None:
        self.layers = rows

    def _on_layers(self, _: Any) -> None:
        from dlwidgets.compute.receptive_field.stack import build_stack, to_rows

        rows = to_rows(self.layers)
        self._model = build_stack(rows)
        self._editor.show(rows)
        self._adopt()
        self._inspect(strict=False)

    def _add_other(self, layers: Any) -> None:
        """Put a second stack beside this one, on the same image."""
        height, width = self._example.sizes or (1, 1)
        self.other = type(self)(layers, size=(height, width), image=self.image)
        self.other._compare.add_class("dlw-hidden")
        first = ipywidgets.VBox(self._single)
        for stack in (first, self.other):
            stack.add_class("dlw-stack")
        row = ipywidgets.Box([first, self.other])
        row.add_class("dlw-row")
        self._compare.add_class("dlw-hidden")
        self.children = [row, self._compare]
