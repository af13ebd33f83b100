"""The wheel works where a student installs it: without Node, and with the server and the kernel in two environments."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter import Lab, Notebook

PROJECT = Path(__file__).parents[2]
RASTER = """
import bqplot, numpy
from dlwidgets.marks.raster import Raster, raster_figure
raster = Raster(image=numpy.arange(12, dtype=numpy.float32).reshape(3, 4))
raster_figure(raster)
"""


def run(*command: str | Path, **keywords) -> str:
    """What a command prints; its output is shown when it fails."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **keywords)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def path_without_node() -> str:
    """The PATH without any folder that holds Node."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if shutil.which("node", path=folder) is None)


def make_environment(folder: Path, *packages: str | Path) -> Path:
    """A fresh virtual environment with these packages at the pinned versions; its Python."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    constraints = ("-c", PROJECT / "constraints.txt") if packages else ()
    run(python, "-m", "pip", "install", "-q", *constraints, *packages, env=os.environ | {"PATH": path_without_node()})
    return python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as `make wheel` builds it."""
    run("make", "wheel", cwd=PROJECT)
    (path,) = (PROJECT / "dist").glob("dlwidgets-*.whl")
    return Path(shutil.copy(path, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def student(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with JupyterLab and the wheel with all that it asks for."""
    return make_environment(tmp_path_factory.mktemp("student"), "jupyterlab", wheel)


@pytest.fixture(scope="module")
def hub(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's environment: JupyterLab and the front ends, the wheel with --no-deps, no torch."""
    python = make_environment(tmp_path_factory.mktemp("hub"), "jupyterlab", "ipywidgets", "bqplot")
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel)
    return python


def labextensions(python: Path) -> str:
    """What `jupyter labextension list` says in that environment, run without Node."""
    environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{path_without_node()}"}
    return run(python.parent / "jupyter", "labextension", "list", env=environment)


@pytest.fixture
def opened() -> Iterator[list]:
    """What a test opened and must close: notebooks and servers, in order."""
    things: list = []
    yield things
    for thing in reversed(things):
        thing.close() if isinstance(thing, Notebook) else thing.stop()


def assert_raster_is_drawn(notebook: Notebook) -> None:
    """The figure's canvas is there, and its pixels are not all the same."""
    notebook.run_all()
    canvas = notebook.output().locator("canvas.dlw-raster-picture").first
    canvas.wait_for()
    handle = canvas.element_handle()
    notebook.page.wait_for_function(
        """canvas => {
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size > 3;
        }""",
        arg=handle,
    )
    assert notebook.errors == []


def test_the_wheel_holds_the_front_end_and_nothing_of_the_workshop(wheel):
    names = run(sys.executable, "-m", "zipfile", "-l", wheel)
    assert "share/jupyter/labextensions/dlwidgets/package.json" in names
    assert "dlwidgets/embed/" in names
    assert "tests/" not in names
    assert "node_modules" not in names


def test_a_student_without_node_gets_a_drawn_widget(student, tmp_path, chromium, opened):
    listing = labextensions(student)
    (line,) = [line for line in listing.splitlines() if "dlwidgets" in line]
    assert "enabled" in line
    assert "OK" in line
    lab = Lab(tmp_path, python=str(student))
    opened.append(lab)
    notebook = Notebook(lab, chromium, [RASTER], name="student")
    opened.append(notebook)
    assert_raster_is_drawn(notebook)
    assert notebook.python("__import__('sys').executable") == str(student)


def test_on_a_hub_server_and_kernel_may_live_apart(student, hub, tmp_path, chromium, opened):
    run(hub, "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)")
    (line,) = [line for line in labextensions(hub).splitlines() if "dlwidgets" in line]
    assert "enabled" in line
    assert "OK" in line
    kernels = tmp_path / "jupyter_data_dir" / "kernels" / "student"
    kernels.mkdir(parents=True)
    command = [str(student), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    specification = {"argv": command, "display_name": "student", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(specification))
    lab = Lab(tmp_path, python=str(hub))
    opened.append(lab)
    notebook = Notebook(lab, chromium, [RASTER], name="hub", kernel="student")
    opened.append(notebook)
    assert_raster_is_drawn(notebook)
    assert notebook.python("__import__('sys').executable") == str(student)
