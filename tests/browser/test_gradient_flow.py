"""GradientFlowMeter in a real JupyterLab: live while a cell trains, pointed at, clicked."""

import math

import pytest

MAKE = """
import torch
from torch import nn
from dlwidgets import GradientFlowMeter
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), *[nn.Linear(16, 16), nn.Sigmoid()] * 8, nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
meter = GradientFlowMeter(model, optimizer)
meter
"""
TRAIN = """
with meter:
    while not {stop}:
        x = torch.randn(16, 8)
        loss = nn.functional.mse_loss(model(x), x[:, :1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        meter.log(loss=loss)
"""
STATE = "(document.querySelector('.dlw-flow .dlw-flow-words')?.textContent ?? '')"


def click_heat_map(page, across, down):
    canvas = page.locator(".dlw-flow canvas.dlw-raster-hover").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])


def test_it_is_drawn_and_answers_clicks_while_the_cell_still_trains(notebook):
    opened = notebook([MAKE, TRAIN.format(stop="False")])
    page = opened.page
    opened.command("notebook:run-cell-and-select-next")
    page.wait_for_function(f"{STATE}.startsWith('Nothing seen yet')")
    opened.command("notebook:run-cell-and-select-next")  # never ends by itself
    page.wait_for_function(f"{STATE}.startsWith('Watching: ') && {STATE}.includes('sampled')")
    first = page.evaluate(STATE)
    page.wait_for_function(f"{STATE} !== {first!r}")
    finding = page.locator(".dlw-flow-verdict").get_by_text("one module at 8 positions").first
    finding.wait_for()
    page.wait_for_function("document.querySelector('.dlw-flow canvas.dlw-raster-picture').width > 100")
    about = page.locator(".dlw-flow > .dlw-flow-words").last
    click_heat_map(page, across=0.1, down=0.995)  # the last position in the first step
    about.get_by_text("18 (Linear) in step 0: gradient norm").wait_for()
    page.locator(".dlw-key").get_by_text("18 (Linear)", exact=True).wait_for()
    page.locator("text.mainheading").get_by_text("gradient norms, step 0").wait_for()
    finding.click()
    about.get_by_text("2 (Linear) in step").wait_for()
    page.locator(".dlw-flow-verdict.mod-active").wait_for()
    page.get_by_role("button", name="newest step").click()
    page.wait_for_function(f"{STATE}.startsWith('Watching: ')")
    opened.command("notebook:interrupt-kernel")
    page.wait_for_function(f"{STATE}.startsWith('Done: ')")
    assert opened.errors == []


@pytest.fixture
def trained(notebook):
    opened = notebook([MAKE, TRAIN.format(stop="meter._meter.num_steps >= 40")]).run_all()
    opened.page.wait_for_function(f"{STATE}.startsWith('Done: ')")
    return opened


def test_pointing_says_the_number_and_a_click_goes_back_to_that_step(trained):
    page = trained.page
    canvas = page.locator(".dlw-flow canvas.dlw-raster-hover").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    rows, columns = trained.python("list(meter._pictures.heat.image.shape)")
    assert columns == 6  # steps 0, 1, 3, 7, 15 and 31
    x, y = (box["x"] + 2.5 / columns * box["width"], box["y"] + 4.5 / rows * box["height"])
    page.mouse.move(x, y)
    line = page.locator(".dlw-flow .dlw-readout > span").first
    line.get_by_text("2 (Linear), call 1, step 3: gradient norm").wait_for()
    said = float(line.inner_text().rsplit(" ", 1)[1])
    assert said == pytest.approx(trained.python("float(meter.result.gradient_norm[2, 4])"), rel=1e-3)
    bar = page.locator(".dlw-flow .bqplot").filter(has=page.get_by_label("Colours of the heat map", exact=True))
    ticks = bar.locator(".tick text").all_text_contents()
    assert ticks == trained.python("list(meter._pictures.color_bar._axis.tick_labels.values())")
    assert [f"1e{round(math.log10(float(tick))):+03d}" for tick in ticks] == ticks  # powers of ten, not places
    page.mouse.click(x, y)
    trained.wait_for_python("(meter.position, meter.step) == (4, 3)")
    page.locator(".dlw-flow").get_by_text("2 (Linear), call 1 in step 3: gradient norm").wait_for()
    page.locator(".dlw-flow-verdict").get_by_text("one module at 8 positions").click()
    trained.wait_for_python("meter._pictures.heat.boxes is not None and len(meter._pictures.heat.boxes) == 8")
    page.locator(".dlw-flow-verdict.mod-active").wait_for()
    chart = page.locator(".dlw-flow .bqplot").filter(has=page.get_by_label("activations", exact=True))
    chart.scroll_into_view_if_needed()
    chart.locator(".object_grp").first.hover(force=True)
    page.locator(".bqplot_tooltip_div, .mark_tooltip").get_by_text("0: 0 (Linear): mean").first.wait_for()
    assert trained.errors == []


def test_hints_are_seen_under_the_mouse_only(trained):
    dots = trained.page.locator(".dlw-exhibit .bqplot path.dot, .dlw-exhibit .bqplot path.element")
    styles = dots.evaluate_all("(dots) => dots.map((dot) => dot.style.fill)")
    assert len(styles) > 10
    assert "" not in styles  # a dot without a style is black


def test_the_laboratory_answers_its_controls(notebook):
    cell = """
from dlwidgets import GradientFlowMeter
lab = GradientFlowMeter.laboratory({"depth": 4, "width": 16}, {"depth": 4, "width": 16, "activation": "tanh"})
lab.wait()
lab
"""
    opened = notebook([cell]).run_all()
    page = opened.page
    words = page.locator(".dlw-flow-words")
    words.get_by_text("(theory 0.144)").wait_for()
    page.get_by_label("Activation", exact=True).first.select_option("relu")
    words.get_by_text("(theory 0.408)").wait_for()
    page.get_by_role("button", name="train both filters").click()
    opened.wait_for_python("lab.filters.result is not None")
    page.locator("text.mainheading").get_by_text("plain: y = f(x)").wait_for()
    assert opened.python("(lab.left.error, lab.right.error, lab.filters.error)") == ["", "", ""]
    assert opened.errors == []
