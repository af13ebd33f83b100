"""What the Python models and the front end must agree on."""

from importlib.metadata import version

PROTOCOL = 1
"""Counted up whenever the meaning of a synced trait changes; a view compares it with its own number."""

MODULE = "dlwidgets"
"""Name of the front-end module that holds our models and views."""

MODULE_VERSION = f"^{version('dlwidgets')}"
"""The range of front-end versions that these Python models work with."""
