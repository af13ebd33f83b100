"""The architecture as far as a test can see it: what may import what, and one stem a topic everywhere."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dlwidgets

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "dlwidgets"
NOTEBOOK = re.compile(r"(\d\d)_([a-z_]+)\.ipynb")


def imports_of(file: Path) -> Iterator[str]:
    """The dotted names of everything that a file imports, wherever in it."""
    package = [PACKAGE.name, *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def files(folder: str) -> list[Path]:
    return sorted((PACKAGE / folder).rglob("*.py"))


def test_importing_the_package_loads_neither_torch_nor_bqplot() -> None:
    code = "import sys, dlwidgets; print(sorted({'torch', 'bqplot', 'ipywidgets', 'sklearn'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_widget_loads_torch_only_when_it_computes() -> None:
    modules = [".".join(file.relative_to(PROJECT).with_suffix("").parts) for file in files("widgets")]
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("file", files("compute"), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_compute_never_imports_upwards(file: Path) -> None:
    seen = ("ipywidgets", "bqplot", "traitlets", "traittypes", "IPython", "dlwidgets.widgets", "dlwidgets.marks")
    found = [name for name in imports_of(file) if name.startswith(seen)]
    assert found == []


@pytest.mark.parametrize("file", files("marks"), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_marks_know_nothing_of_widgets_or_torch(file: Path) -> None:
    found = [name for name in imports_of(file) if name.startswith(("torch", "dlwidgets.widgets", "dlwidgets.compute"))]
    assert [name for name in found if not name.startswith("dlwidgets.widgets.arrays")] == []  # the road for tensors


@pytest.mark.parametrize("file", files("compute"), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_observe_registers_hooks_on_modules(file: Path) -> None:
    hooks = re.findall(r"\.(register_\w*hook\w*)\(", file.read_text(encoding="utf-8"))
    assert file.name == "observe.py" or hooks == []


def topics() -> list[str]:
    """The stem of every public widget."""
    modules = {getattr(dlwidgets, name).__module__ for name in dlwidgets.__all__}
    return sorted(module.rsplit(".", 1)[1] for module in modules)


def test_there_are_topics() -> None:
    assert "receptive_field" in topics()


@pytest.mark.parametrize("stem", topics())
def test_every_topic_has_its_partners(stem: str) -> None:
    compute = PACKAGE / "compute" / stem
    assert compute.with_suffix(".py").exists() or (compute / "__init__.py").exists()
    assert (PACKAGE / "widgets" / f"{stem}.py").exists()
    assert (PROJECT / "tests" / "widgets" / f"test_{stem}.py").exists()
    assert list((PROJECT / "tests" / "compute").glob(f"test_{stem}*.py"))
    assert list((PROJECT / "tests" / "browser").glob(f"test_{stem}*.py"))
    assert [file for file in notebooks() if NOTEBOOK.fullmatch(file.name)[2] == stem]  # type: ignore[index]


def notebooks() -> list[Path]:
    return sorted((PROJECT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", notebooks(), ids=lambda file: file.name)
def test_notebooks_carry_a_stem_that_exists_and_no_outputs(file: Path) -> None:
    match = NOTEBOOK.fullmatch(file.name)
    assert match is not None
    assert match[2] == "index" or (PACKAGE / "widgets" / f"{match[2]}.py").exists()
    assert '"output_type"' not in file.read_text(encoding="utf-8")
    assert not re.search(r'"execution_count": \d', file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", dlwidgets.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    thing = getattr(dlwidgets, name)
    assert thing.__doc__
    assert importlib.import_module(thing.__module__).__doc__
