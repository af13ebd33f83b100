"""Keys below a figure: a sign in a colour, with its meaning. bqplot's legends cover the marks of a narrow figure."""

import ipywidgets

from dlwidgets.marks.palette import OKABE_ITO
from dlwidgets.widgets.base import hide

GREY = "#808080"

_NAMES = dict(zip(OKABE_ITO, ("orange", "sky", "green", "yellow", "blue", "vermillion", "purple"), strict=False)) | {
    GREY: "grey"
}


def key(sign: str, color: str, text: str) -> ipywidgets.Label:
    """One entry of a key.

    Args:
        sign: "band", "bar", "cross", "dashed", "diamond", "dot", "falling", "hatch", "line" or "rising".
        color: one of the first seven colours of `OKABE_ITO`, or `GREY`.
        text: what it stands for.
    """
    label = ipywidgets.Label(text)
    for name in ("dlw-key", f"dlw-key-{sign}", f"dlw-key-{_NAMES[color]}"):
        label.add_class(name)
    return label


def keyed(shown: ipywidgets.Widget, *keys: tuple[str, str, str]) -> ipywidgets.Box:
    """A figure with its key below; the arguments of each entry are those of `key`."""
    box = ipywidgets.VBox([shown])
    box.add_class("dlw-keyed")
    if keys:
        row = ipywidgets.Box([key(*each) for each in keys])
        row.add_class("dlw-keys")
        box.children = [shown, row]
    return box


def show_keys(box: ipywidgets.Box, *present: bool) -> None:
    """Hide from the key of a `keyed` figure what its picture does not hold now, entry by entry."""
    for label, there in zip(box.children[1].children, present, strict=True):
        hide(label, not there)
