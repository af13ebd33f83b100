"""Answering the front end while a cell keeps the kernel's main thread busy."""

from collections.abc import Iterable

import ipywidgets


def answer_while_busy(widgets: Iterable[ipywidgets.Widget]) -> None:
    """Have what the front end sends to these models handled while a cell runs.

    JupyterLab sends widget messages over a subshell, a thread of the kernel beside the main one. ipykernel 7.4 and
    later take them off it again, to the loop that sent the model's last message: the main one, which answers only when
    the cell has ended. This leaves the choice to the front end; kernels without subshells are not concerned. Only for
    widgets whose handlers run under a lock.
    """
    for widget in widgets:
        if widget.comm is not None:
            widget.comm._reply_subshell_for = None
