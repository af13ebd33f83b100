"""A real JupyterLab and its notebooks, driven through a real Chromium.

`Lab` is a server in folders of its own; `Notebook` is one notebook open in a page. Everything waits for conditions.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Locator, Page

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_S = 120
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Lab:
    """A JupyterLab server of the environment of `python`, with its notebooks in `folder`."""

    def __init__(self, folder: Path, python: str = sys.executable, extra_environment: dict[str, str] | None = None):
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True, exist_ok=True)
        private = {
            name: str(folder / name.lower())
            for name in (
                "JUPYTER_CONFIG_DIR",
                "JUPYTER_DATA_DIR",
                "JUPYTER_RUNTIME_DIR",
                "JUPYTERLAB_SETTINGS_DIR",
                "JUPYTERLAB_WORKSPACES_DIR",
                "IPYTHONDIR",
            )
        }
        for path, setting in SETTINGS.items():
            target = Path(private["JUPYTERLAB_SETTINGS_DIR"], *path.split("/")).with_suffix(".jupyterlab-settings")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(setting))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | private
        environment |= {"OMP_NUM_THREADS": "1", "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
        environment |= extra_environment or {}
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "server.log").open("w+")
        self._process = subprocess.Popen(
            [
                python,
                *("-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
                "--ServerApp.port_retries=0",
                "--IdentityProvider.token=",
                f"--ServerApp.root_dir={self.root}",
                "--LabApp.expose_app_in_browser=True",
                "--LabApp.news_url=None",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            cwd=folder,
            env=environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/api/status", timeout=5):
                    return
            except OSError:
                continue
        self.stop()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log()}")

    def log(self) -> str:
        """What the server printed so far."""
        return Path(self._log.name).read_text()

    def stop(self) -> None:
        """End the server and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()


class Notebook:
    """A notebook with the given code cells, open in a page of its own."""

    def __init__(
        self,
        lab: Lab,
        browser: Browser,
        cells: Sequence[str],
        *,
        name: str,
        dark: bool = False,
        width: int = 1400,
        height: int = 2000,
        kernel: str = "python3",
    ):
        document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        document.metadata.kernelspec = {"name": kernel, "display_name": kernel}
        nbformat.write(document, lab.root / f"{name}.ipynb")
        self.errors: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(TIMEOUT_S * 1000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{lab.url}/lab/tree/{name}.ipynb?reset")
        self.page.wait_for_function(
            """() => {
                const widget = window.jupyterapp?.shell.currentWidget;
                const session = widget?.context?.sessionContext;
                const kernel = session?.session?.kernel;
                return session?.isReady && kernel?.connectionStatus === 'connected' && kernel?.status === 'idle';
            }"""
        )
        # the server keeps the theme that the notebook before has chosen
        self.use_theme("JupyterLab Dark" if dark else "JupyterLab Light")

    def use_theme(self, theme: str) -> None:
        """Switch JupyterLab's theme and wait until it applies."""
        light = str("Light" in theme).lower()
        self.command("apputils:change-theme", {"theme": theme})
        self.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{light}'")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Start a JupyterLab command; it is not waited for."""
        self.page.evaluate(
            "([name, args]) => { void window.jupyterapp.commands.execute(name, args) }", [name, arguments or {}]
        )

    def run_all(self) -> "Notebook":
        """Run every cell and wait until all have run and the kernel is idle; a traceback fails the test."""
        self.start_all()
        self.wait_until_run()
        problems = self.page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")
        tracebacks = [text for text in problems.all_inner_texts() if "Traceback" in text or "Error" in text]
        if tracebacks:
            raise AssertionError("\n".join(tracebacks))
        return self

    def start_all(self) -> None:
        """Start running every cell."""
        self.command("notebook:run-all-cells")

    def wait_until_run(self) -> None:
        """Wait until every code cell has run (or one has failed) and the kernel is idle."""
        self.page.wait_for_function(
            """() => {
                const widget = window.jupyterapp.shell.currentWidget;
                const cells = widget.content.widgets.filter(cell => cell.model.type === 'code');
                const failed = cells.some(cell => (cell.model.sharedModel.getOutputs() ?? [])
                    .some(output => output.output_type === 'error'));
                const ran = cells.every(cell => cell.model.executionCount !== null);
                return (ran || failed) && widget.context.sessionContext.session?.kernel?.status === 'idle';
            }"""
        )

    def python(self, expression: str) -> Any:
        """The value of a Python expression in the kernel (anything that JSON can carry)."""
        reply = self.page.evaluate(
            """async (expression) => {
                const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
                const future = kernel.requestExecute({
                    code: 'import json as _json', silent: true, store_history: false,
                    user_expressions: {value: '_json.dumps(' + expression + ')'},
                });
                const reply = await future.done;
                return reply.content.user_expressions?.value ?? reply.content;
            }""",
            expression,
        )
        if "data" not in reply:
            raise AssertionError(f"{expression}: {reply.get('ename')}: {reply.get('evalue')}")
        literal = reply["data"]["text/plain"]
        return json.loads(eval(literal, {"__builtins__": {}}))

    def execute(self, code: str) -> None:
        """Run statements in the kernel, outside any cell."""
        reply = self.page.evaluate(
            """async (code) => {
                const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
                const reply = await kernel.requestExecute({code, silent: false, store_history: false}).done;
                return reply.content;
            }""",
            code,
        )
        if reply["status"] != "ok":
            raise AssertionError(f"{reply.get('ename')}: {reply.get('evalue')}")

    def wait_for_python(self, expression: str) -> None:
        """Wait until a Python expression in the kernel is true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not self.python(f"bool({expression})"):
            if time.monotonic() > deadline:
                raise AssertionError(f"never true: {expression}")

    def output(self, index: int = -1) -> Locator:
        """The output area of the code cell at `index`."""
        return self.page.locator(".jp-CodeCell").nth(index).locator(".jp-OutputArea-child").first

    def close(self) -> None:
        """End the kernel and close the page."""
        self.page.evaluate(
            "async () => { await window.jupyterapp?.shell.currentWidget?.context.sessionContext.shutdown() }"
        )
        self.page.close()
