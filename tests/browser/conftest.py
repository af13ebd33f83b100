"""Fixtures for tests in a real browser: one Chromium and one JupyterLab a session, one notebook a test."""

import itertools
from collections.abc import Callable, Iterator

import chromium as chromium_finder
import pytest
from jupyter import CHROMIUM_FLAGS, Lab, Notebook
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_finder.find(), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab server of this environment."""
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


_numbers = itertools.count()


@pytest.fixture
def notebook(lab: Lab, chromium: Browser) -> Iterator[Callable[..., Notebook]]:
    """Opens notebooks: `notebook([cell, ...], dark=False, width=1400, height=2000)`; closed after the test."""
    opened: list[Notebook] = []

    def open_notebook(cells: list[str], **keywords) -> Notebook:
        opened.append(Notebook(lab, chromium, cells, name=f"test-{next(_numbers)}", **keywords))
        return opened[-1]

    yield open_notebook
    for each in opened:
        each.close()
