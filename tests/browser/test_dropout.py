"""DropoutSimulator in a real JupyterLab."""

import pytest

from dlwidgets import DropoutSimulator

SETUP = """
import torch
from torch import nn
from dlwidgets import DropoutSimulator
torch.manual_seed(0)
"""
SHOW = """
simulator = DropoutSimulator()
simulator.wait()
simulator
"""
TITLES = ("Masks", "Two in a row", "Before or after", "Scaling", "Your model", "Does it help?")


def open_tab(page, title):
    page.locator(".dlw-dropout").get_by_role("tab", name=title).click()
    return page.locator(".dlw-dropout .dlw-exhibit:visible").first


def words(section):
    return section.locator(".dlw-dropout-words")


@pytest.fixture
def shown(notebook):
    opened = notebook([SETUP, SHOW]).run_all()
    opened.page.locator(".dlw-dropout .lm-TabBar-tab").nth(5).wait_for()
    return opened


def wait_for_figures(section, number):
    section.page.wait_for_function(
        """([section, number]) => [...section.querySelectorAll('.bqplot')]
            .filter(each => each.getBoundingClientRect().width > 150 && each.querySelector('svg')).length === number""",
        arg=[section.element_handle(), number],
    )


def test_sliders_and_choices_change_what_is_seen(shown):
    page = shown.page
    masks = open_tab(page, "Masks")
    wait_for_figures(masks, 2)
    page.get_by_role("slider", name="Number of the mask shown").press("ArrowRight")
    words(masks).get_by_text("Mask 2:").wait_for()
    page.get_by_role("button", name="resample").click()
    shown.wait_for_python("simulator.masks.seed == 1 and not simulator.masks._busy")

    masks.get_by_label("What is dropped", exact=True).select_option("channels of a feature map")
    words(masks).get_by_text("4 channels dropped").wait_for()
    wait_for_figures(masks, 2)

    row = open_tab(page, "Two in a row")
    wait_for_figures(row, 1)
    words(row).get_by_text("q = 1 − (1 − 0.1)(1 − 0.2) = 0.28; survivors are scaled by 1.3889").wait_for()
    page.get_by_role("slider", name="Probability of dropout 1").press("ArrowRight")
    words(row).get_by_text("q = 1 − (1 − 0.11)(1 − 0.2) = 0.288").wait_for()
    page.get_by_role("button", name="add one").click()
    page.get_by_role("slider", name="Probability of dropout 3").wait_for()
    words(row).get_by_text("(1 − 0.11)(1 − 0.2)(1 − 0.1)").wait_for()

    order = open_tab(page, "Before or after")
    wait_for_figures(order, 2)
    words(order).get_by_text("A dropped unit becomes f(0) = 0.5 instead of 0").wait_for()
    page.get_by_label("Activation", exact=True).select_option("ReLU")
    words(order).get_by_text("no difference, for this mask or any other").wait_for()

    scaling = open_tab(page, "Scaling")
    wait_for_figures(scaling, 2)
    page.get_by_label("scale survivors by 1/(1 − p)").uncheck()
    words(scaling).get_by_text("training and eval means are apart: 0.5 and 1").wait_for()

    model = open_tab(page, "Your model")
    wait_for_figures(model, 2)
    before = words(model).inner_text()
    page.get_by_label("Input of the batch").select_option("10")
    page.wait_for_function(
        "([words, before]) => words.textContent !== before", arg=[words(model).element_handle(), before]
    )
    assert shown.errors == []


def test_the_experiment_is_started_and_stopped_by_its_buttons(shown):
    page = shown.page
    shown.execute(
        "from dlwidgets.compute.dropout import report; sweep = report.sweep\n"
        "report.sweep = lambda *args, **keywords: sweep(*args, num_epochs=100_000, **keywords)"
    )
    section = open_tab(page, "Does it help?")
    section.get_by_role("button", name="train").click()
    section.locator(".dlw-progress:visible").get_by_text("epoch").wait_for()
    section.get_by_role("button", name="Stop").click()
    shown.wait_for_python("not simulator.sweep._busy")
    assert shown.python("simulator.sweep.result is None and simulator.sweep.error == ''")
    shown.execute("report.sweep = lambda *args, **keywords: sweep(*args, num_epochs=5, **keywords)")
    section.get_by_role("button", name="train").click()
    words(section).get_by_text("right in training").wait_for()
    wait_for_figures(section, 2)
    page.get_by_role("slider", name="Probability whose curves are shown").press("ArrowRight")
    words(section).get_by_text("p = 0.75:").wait_for()
    assert shown.errors == []


def test_a_phone_shows_everything_without_scrolling_sideways(notebook):
    opened = notebook([SETUP, SHOW], width=360)
    opened.command("application:toggle-left-area")
    opened.run_all()
    for title in TITLES:
        section = open_tab(opened.page, title)
        wider = section.evaluate(
            """section => [...section.querySelectorAll('.bqplot, .dlw-dropout-words, .widget-slider, button, select')]
                .filter(each => each.offsetParent !== null)
                .filter(each => each.getBoundingClientRect().right > section.getBoundingClientRect().right + 1)
                .map(each => each.className)"""
        )
        assert wider == [], title


def test_on_a_phone_the_tables_columns_stay_below_each_other_and_the_keyboard_scrolls_it(notebook):
    cell = """
pairs = [layer for _ in range(15) for layer in (nn.Linear(3, 3), nn.ReLU(), nn.Dropout(0.2))]
simulator = DropoutSimulator(nn.Sequential(*pairs), torch.zeros(2, 3), section="Your model")
simulator.wait()
simulator
"""
    opened = notebook([SETUP, cell], width=360)
    opened.command("application:toggle-left-area")
    opened.run_all()
    table = open_tab(opened.page, "Your model").get_by_role("region", name="Dropout modules")
    table.get_by_role("columnheader", name="stands").wait_for()
    starts = table.evaluate(
        """table => [...table.querySelectorAll('tr')].map((row) =>
            [...row.children].map((cell) => cell.getBoundingClientRect().left))"""
    )
    assert len(starts) == 1 + 15
    assert all(row == starts[0] for row in starts)
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth"), "nothing is cut at the side"
    assert table.evaluate("table => table.scrollHeight > table.clientHeight")
    table.press("ArrowDown")
    opened.page.wait_for_function("table => table.scrollTop > 0", arg=table.element_handle())
    assert opened.errors == []


def test_a_model_that_fails_says_so_and_a_name_is_only_text(notebook):
    cell = """
broken = DropoutSimulator(nn.Linear(3, 2), torch.zeros(1, 5), section="Your model")
named = nn.Sequential()
named.add_module("<img src=x onerror='attacked = true'>", nn.Dropout(0.5))
shown = DropoutSimulator(named, torch.zeros(2, 3), section="Your model")
"""
    opened = notebook([SETUP, cell, "broken", "shown"]).run_all()
    alert = opened.page.locator(".dlw-dropout").first.locator(".dlw-error:visible")
    alert.get_by_text("the model fails on these inputs in eval mode").wait_for()
    opened.page.get_by_text("<img src=x onerror='attacked = true'>").first.wait_for()
    opened.page.get_by_text("Over 100 masks").last.wait_for()
    assert opened.page.evaluate("window.attacked === undefined")
    assert opened.errors == []


def test_an_exported_page_shows_every_section_and_offers_nothing_that_needs_a_kernel(chromium, tmp_path):
    simulator = DropoutSimulator(section="Masks")
    simulator.masks.sample = 60
    path = simulator.export(tmp_path / "dropout.html")
    simulator.close()
    page = chromium.new_page(offline=True)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    masks = open_tab(page, "Masks")
    words(masks).get_by_text("Mask 60:").wait_for()
    assert masks.get_by_role("slider", name="Number of the mask shown").get_attribute("aria-valuetext") == "60"
    for title, number in zip(TITLES[:5], (2, 1, 2, 2, 2), strict=True):
        section = open_tab(page, title)
        wait_for_figures(section, number)
        assert section.locator(".dlw-dropout-controls button:visible").count() == 0
        controls = section.locator(".dlw-dropout-controls").first
        assert controls.evaluate("each => getComputedStyle(each).pointerEvents") == "none"
    assert errors == []
    page.close()
