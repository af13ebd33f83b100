"""Answering the front end while a cell keeps the kernel's main thread busy."""

import sys
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import ipywidgets
from comm import create_comm


def answer_while_busy(widgets: Iterable[ipywidgets.Widget], lock: AbstractContextManager[Any]) -> None:
    """Have what the front end sends to these models handled while a cell runs, and a page that is reloaded meanwhile.

    JupyterLab sends widget messages over a subshell, a thread of the kernel beside the main one. ipykernel 7.4 and
    later take them off it again, to the loop that sent the model's last message: the main one, which answers only when
    the cell has ended. This leaves the choice to the front end. A reloaded page does not know of subshells until the
    cell has ended: what it sends goes to the subshell that is there. Only for widgets whose handlers run under
    ``lock``.
    """
    kernel = _kernel()
    for widget in widgets:
        if widget.comm is not None:
            widget.comm._reply_subshell_for = lambda _, chosen: chosen or _subshell(kernel)
    comms = getattr(kernel, "comm_manager", None)
    if comms is not None and not answers_when_the_cell_ends() and "get_comm" not in vars(comms):
        comms.get_comm = _Lookup(kernel, lock)


def answers_when_the_cell_ends() -> bool:
    """Whether this is a kernel without subshells (ipykernel before 7), which hears of clicks only between cells."""
    kernel = _kernel()
    return kernel is not None and "kernel subshells" not in kernel.kernel_info.get("supported_features", ())


class _Lookup:
    """Finds the kernel's comms, and lets a reloaded page have the state of all widgets before its comm is open.

    The page opens a comm, which waits for the main thread, and asks right behind: the thread of the kernel that sorts
    the messages looks here which comm that is for, and asks it where its message shall be handled.
    """

    def __init__(self, kernel: Any, lock: AbstractContextManager[Any]) -> None:
        self.kernel, self.lock = kernel, lock
        self.asking: dict[str, _Unopened] = {}
        self._known = kernel.comm_manager.get_comm

    def __call__(self, comm_id: str) -> Any:
        opened = comm_id in self.kernel.comm_manager.comms
        if threading.current_thread() is self.kernel.shell_channel_thread:
            return self._known(comm_id) if opened else _Unopened(comm_id, self)
        asking = self.asking.pop(comm_id, None)
        return self._known(comm_id) if opened or asking is None else asking


class _Unopened:
    """Stands for a comm that is not open."""

    def __init__(self, comm_id: str, lookup: _Lookup) -> None:
        self._comm_id, self._lookup = comm_id, lookup

    def _reply_subshell_for(self, data: Any, chosen: str | None) -> str | None:
        subshell = chosen or _subshell(self._lookup.kernel)
        if subshell is None or data != {"method": "request_states"}:
            return chosen
        self._lookup.asking[self._comm_id] = self
        return subshell

    def handle_msg(self, message: Any) -> None:
        """Send the state of all widgets, as ipywidgets does."""
        comm = create_comm(target_name="jupyter.widget.control", comm_id=self._comm_id, primary=False)
        with self._lookup.lock:  # not while something is half drawn
            ipywidgets.Widget.handle_control_comm_opened(comm, {"metadata": {"version": "1.0.0"}})
            comm.handle_msg(message)


def _kernel() -> Any:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None)


def _subshell(kernel: Any) -> str | None:
    """One of the threads beside the main one, if there is any."""
    found = kernel.shell_channel_thread.manager.list_subshell()
    return found[0] if found else None
