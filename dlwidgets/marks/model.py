"""What all our own front-end models have in common."""

from typing import Any, ClassVar

import ipywidgets
import traitlets

from dlwidgets._protocol import MODULE, MODULE_VERSION, PROTOCOL


class Model(ipywidgets.Widget):
    """A model whose front end is ours, which refuses keyword arguments that it does not know.

    Raises:
        TypeError: an unknown keyword argument; the message names the valid ones.
    """

    _model_module = traitlets.Unicode(MODULE).tag(sync=True)
    _model_module_version = traitlets.Unicode(MODULE_VERSION).tag(sync=True)
    _view_module = traitlets.Unicode(MODULE).tag(sync=True)
    _view_module_version = traitlets.Unicode(MODULE_VERSION).tag(sync=True)
    _protocol = traitlets.Int(PROTOCOL).tag(sync=True)

    _not_arguments: ClassVar[set[str]] = {"comm", "keys", "log"}

    def __init__(self, **kwargs: Any) -> None:
        valid = {name for name in self.trait_names() if not name.startswith("_")} - self._not_arguments
        unknown = sorted(set(kwargs) - valid)
        if unknown:
            names = ", ".join(sorted(valid))
            raise TypeError(f"{type(self).__name__} got an unknown argument {unknown[0]!r}; valid names are: {names}")
        super().__init__(**kwargs)
