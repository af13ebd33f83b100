"""A cell that is run again and again leaves as many models as one run: tried in a real kernel, with ids and without."""

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

LONG = 60.0

SETUP = """
import ipywidgets
from dlwidgets.widgets.base import Exhibit

class Small(Exhibit):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.children = [ipywidgets.IntSlider(), ipywidgets.Label()]

def exhibits():
    from ipywidgets.widgets.widget import _instances
    return [widget for widget in list(_instances.values()) if isinstance(widget, Exhibit)]

def alive():
    from ipywidgets.widgets.widget import _instances
    return len(_instances), len(exhibits())
"""


class Notebook:
    """Runs cells the way JupyterLab does: with the cell's id in the metadata of the request."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def run(self, code: str, cell: str | None = None) -> Any:
        """Run a cell and return what its last expression evaluates to."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell} if cell else {})
        self.client.shell_channel.send(message)
        value = None
        while True:
            reply = self.client.get_iopub_msg(timeout=LONG)
            if reply["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            kind = reply["msg_type"]
            assert kind != "error", reply["content"]
            if kind == "execute_result":
                value = reply["content"]["data"]["text/plain"]
            if kind == "status" and reply["content"]["execution_state"] == "idle":
                return value


@pytest.fixture(scope="module")
def notebook() -> Iterator[Notebook]:
    manager, client = start_new_kernel(startup_timeout=LONG)
    notebook = Notebook(client)
    notebook.run(SETUP)
    yield notebook
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("with_id", [True, False])
def test_ten_runs_leave_as_many_models_as_one(notebook: Notebook, with_id: bool) -> None:
    cell = "shown" if with_id else None
    code = f"viewer = Small()  # {with_id}\nviewer"
    notebook.run(code, cell)
    once = notebook.run("alive()")
    for _ in range(9):
        notebook.run(code, cell)
    assert notebook.run("alive()") == once
    assert notebook.run("viewer.comm is not None") == "True"  # the last one lives
    notebook.run("viewer.close()")


def test_a_cell_that_is_edited_still_closes_what_it_made_before(notebook: Notebook) -> None:
    before = notebook.run("alive()")
    for width in range(3):
        notebook.run(f"Small(layout={{'width': '{width}px'}})", "edited")
    notebook.run("pass", "edited")
    assert notebook.run("alive()") == before


def test_what_a_variable_holds_stays_open(notebook: Notebook) -> None:
    notebook.run("kept, boxes, named = [], [], {}")
    notebook.run("class Holder: pass\nholder = Holder()")
    for _ in range(3):
        notebook.run("kept.append(Small())", "in a list")
        notebook.run("boxes.append(ipywidgets.VBox([Small()]))", "in a box in a list")
        notebook.run("named[len(named)] = Small()", "in a dict")
        notebook.run("holder.first = getattr(holder, 'first', None) or Small()", "in an attribute")
    assert notebook.run("[w.comm is None for w in kept + [b.children[0] for b in boxes] + list(named.values())]") == (
        str([False] * 9)
    )
    assert notebook.run("holder.first.comm is None") == "False"
    notebook.run("for exhibit in exhibits(): exhibit.close()")


def test_several_exhibits_of_one_run_live_together_and_other_cells_are_left_alone(notebook: Notebook) -> None:
    notebook.run("for exhibit in exhibits(): exhibit.close()")
    notebook.run("other = Small()", "another cell")
    notebook.run("for _ in range(4): display(Small())", "loop")
    assert notebook.run("alive()[1]") == "5"
    notebook.run("for _ in range(4): display(Small())", "loop")
    assert notebook.run("alive()[1]") == "5"
    assert notebook.run("other.comm is None") == "False"


def test_a_cell_that_fails_before_it_makes_anything_keeps_the_old_one(notebook: Notebook) -> None:
    notebook.run("survivor = Small()", "may fail")
    notebook.run("try:\n    survivor = Small(nonsense=1)\nexcept TypeError: pass", "may fail")
    assert notebook.run("survivor.comm is None") == "False"


def test_a_hundred_runs_of_a_training_cell_leave_one_meter_and_its_hooks(notebook: Notebook) -> None:
    notebook.run(
        """
import threading, warnings
from torch.optim.optimizer import _global_optimizer_post_hooks
import torch
from dlwidgets import GradientFlowMeter

model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

def step():
    optimizer.zero_grad()
    model(torch.randn(8, 4)).mean().backward()
    optimizer.step()

def left():
    kinds = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
    hooks = sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
    hooks += sum(len(table) for table in (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks))
    hooks += len(_global_optimizer_post_hooks)
    return *alive(), hooks, sum(thread.name == "dlwidgets-meter" for thread in threading.enumerate())
"""
    )
    notebook.run("meter = GradientFlowMeter(model, optimizer)\nmeter", "made")
    train = "with meter:\n    step()"
    whole = f"meter = GradientFlowMeter(model, optimizer)\n{train}\nmeter"
    # Never detaches: the next run's meter takes the place of the one that is still attached.
    broken_off = "warnings.simplefilter('ignore')\nmeter = GradientFlowMeter(model, optimizer)\nmeter.attach()\nstep()"
    for code, runs in ((train, 100), (whole, 8), (broken_off, 8)):
        notebook.run(code, "training")
        once = notebook.run("left()")
        for _ in range(runs - 1):
            notebook.run(code, "training")
        assert notebook.run("left()") == once


def test_twenty_runs_of_a_cell_that_makes_model_and_meter_keep_one_model_though_out_keeps_the_meters(
    notebook: Notebook,
) -> None:
    notebook.run(
        """
import gc, weakref
import torch
from dlwidgets import GradientFlowMeter

models, optimizers = weakref.WeakSet(), weakref.WeakSet()

def living():
    gc.collect()
    return len(models), len(optimizers)
"""
    )
    code = """
made_here = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
adam = torch.optim.Adam(made_here.parameters())
models.add(made_here)
optimizers.add(adam)
own_meter = GradientFlowMeter(made_here, adam)
with own_meter:
    adam.zero_grad()
    made_here(torch.randn(8, 4)).mean().backward()
    adam.step()
own_meter
"""
    kept = "[each for each in Out.values() if isinstance(each, GradientFlowMeter)]"
    with_result = f"sum(each.result is not None for each in {kept})"
    before = int(notebook.run(with_result))  # those of other cells
    for _ in range(20):
        notebook.run(code, "model and meter")
    assert notebook.run("living()") == "(1, 1)"
    assert notebook.run(f"len({kept}) >= 20") == "True"
    assert int(notebook.run(with_result)) == before + 1
    assert notebook.run("own_meter.comm is not None, len(own_meter.result.steps)") == "(True, 1)"
    notebook.run("own_meter.close()")
    notebook.run("del made_here, adam")
    assert notebook.run("living()") == "(0, 0)"
