"""Answering the front end while a cell keeps the kernel's main thread busy."""

import sys
from collections.abc import Iterable

import ipywidgets


def answer_while_busy(widgets: Iterable[ipywidgets.Widget]) -> None:
    """Have what the front end sends to these models handled while a cell runs.

    JupyterLab sends widget messages over a subshell, a thread of the kernel beside the main one. ipykernel 7.4 and
    later take them off it again, to the loop that sent the model's last message: the main one, which answers only when
    the cell has ended. This leaves the choice to the front end. Only for widgets whose handlers run under a lock.
    """
    for widget in widgets:
        if widget.comm is not None:
            widget.comm._reply_subshell_for = None


def answers_when_the_cell_ends() -> bool:
    """Whether this is a kernel without subshells (ipykernel before 7), which hears of clicks only between cells."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    kernel = getattr(shell, "kernel", None)
    return kernel is not None and "kernel subshells" not in kernel.kernel_info.get("supported_features", ())
