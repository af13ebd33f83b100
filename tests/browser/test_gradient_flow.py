"""GradientFlowMeter in a real JupyterLab: live while a cell trains, pointed at, clicked."""

import math
import time

import pytest
from jupyter import TIMEOUT_S
from playwright.sync_api import TimeoutError as NotSeen

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


SETTLED = """async () => {
    const places = () => JSON.stringify([...document.querySelectorAll('.dlw-flow .bqplot, .dlw-flow path.element')]
        .map((each) => Object.values(each.getBoundingClientRect().toJSON())));
    for (let before = '', frames = 0; frames < 10; ) {
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        const now = places();
        frames = now === before ? frames + 1 : 0;
        before = now;
    }
}"""
"""Waits until nothing of the meter has moved for ten frames."""


def point_at_heat_map(page, across, down, words):
    """Move the mouse there until the line below says ``words``: figures still move while they are laid out."""
    canvas = page.locator(".dlw-flow canvas.dlw-raster-hover").first
    line = page.locator(".dlw-flow .dlw-readout > span").first
    deadline = time.monotonic() + TIMEOUT_S
    while words not in line.inner_text():
        assert time.monotonic() < deadline, line.inner_text()
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
        page.mouse.move(x + 1, y)
        page.mouse.move(x, y)
    return x, y


def training_for_ever(notebook):
    """A notebook and its page, once the meter shows a training cell that never ends by itself."""
    opened = notebook([MAKE, TRAIN.format(stop="False")])
    opened.command("notebook:run-cell-and-select-next")
    opened.page.wait_for_function(f"{STATE}.startsWith('Nothing seen yet')")
    opened.command("notebook:run-cell-and-select-next")
    opened.page.wait_for_function(f"{STATE}.startsWith('Watching: ') && {STATE}.includes('sampled')")
    return opened, opened.page


def test_it_is_drawn_and_answers_clicks_while_the_cell_still_trains(notebook):
    opened, page = training_for_ever(notebook)
    first = page.evaluate(STATE)
    page.wait_for_function(f"{STATE} !== {first!r}")
    finding = page.locator(".dlw-flow-verdict").get_by_text("one module at 8 positions").first
    finding.wait_for()
    page.wait_for_function("document.querySelector('.dlw-flow canvas.dlw-raster-picture').width > 100")
    about = page.locator(".dlw-flow > .dlw-flow-words").last
    # the last position in the first step
    page.mouse.click(*point_at_heat_map(page, 0.1, 0.98, "18 (Linear), step 0: gradient norm"))
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


def test_the_slider_can_be_dragged_while_the_cell_trains_and_only_a_person_lets_go_of_the_newest_step(notebook):
    opened, page = training_for_ever(notebook)
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 6})  # it falls behind
    handle = page.locator(".dlw-flow-controls .noUi-handle").first
    newest = page.get_by_role("button", name="newest step")
    step = "(document.querySelector('.dlw-flow-controls .widget-hbox .widget-label:last-child')?.textContent ?? '')"
    page.wait_for_function(f"/^step [\\d,]{{3,}}$/.test({step})")
    for _ in range(8):  # redraws that move the slider
        page.wait_for_function(f"{step} !== {page.evaluate(step)!r}")
    assert "mod-active" in newest.get_attribute("class")
    handle.scroll_into_view_if_needed()
    box, rail = handle.bounding_box(), page.locator(".dlw-flow-controls .noUi-target").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(rail["x"] + rail["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.move(rail["x"] - 20, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.wait_for_function(f"{step} === 'step 0'")
    page.locator("text.mainheading").get_by_text("gradient norms, step 0", exact=True).wait_for()
    assert "mod-active" not in newest.get_attribute("class")
    newest.click()
    page.wait_for_function(f"{step} !== 'step 0'")
    opened.command("notebook:interrupt-kernel")
    page.wait_for_function(f"{STATE}.startsWith('Done: ')")
    assert opened.errors == []


def test_a_page_that_is_reloaded_while_the_cell_trains_shows_it_and_answers(notebook):
    opened, page = training_for_ever(notebook)
    page.evaluate("async () => { await window.jupyterapp.commands.execute('docmanager:save') }")
    page.goto(page.url.partition("?")[0])
    page.wait_for_function(f"{STATE}.startsWith('Watching: ') && {STATE}.includes('sampled')")
    first = page.evaluate(STATE)
    page.wait_for_function(f"{STATE} !== {first!r}")  # it goes on
    page.mouse.click(*point_at_heat_map(page, 0.003, 0.98, "18 (Linear), step 0: gradient norm"))
    page.locator(".dlw-flow > .dlw-flow-words").get_by_text("18 (Linear) in step 0: gradient norm").wait_for()
    page.wait_for_function(f"{STATE}.startsWith('Watching: ')")
    opened.command("notebook:interrupt-kernel")
    page.wait_for_function(f"{STATE}.startsWith('Done: ')")
    title = page.locator("text.mainheading").get_by_text("gradient norms, step ")
    assert title.text_content() == "gradient norms, step 0"
    page.get_by_role("button", name="newest step").click()
    page.locator("text.mainheading").get_by_text("gradient norms, step 0", exact=True).wait_for(state="detached")
    assert opened.errors == []


@pytest.fixture
def trained(notebook):
    opened = notebook([MAKE, TRAIN.format(stop="meter._meter.num_steps >= 40")]).run_all()
    opened.page.wait_for_function(f"{STATE}.startsWith('Done: ')")
    opened.page.evaluate(SETTLED)
    return opened


def test_pointing_says_the_number_and_a_click_goes_back_to_that_step(trained):
    page = trained.page
    rows, columns = trained.python("list(meter._pictures.heat.image.shape)")
    assert columns == 6  # steps 0, 1, 3, 7, 15 and 31
    x, y = point_at_heat_map(page, 2.5 / columns, 4.5 / rows, "2 (Linear), call 1, step 3: gradient norm")
    line = page.locator(".dlw-flow .dlw-readout > span").first
    said = float(line.inner_text().rsplit(" ", 1)[1])
    assert said == pytest.approx(trained.python("float(meter.result.gradient_norm[2, 4])"), rel=1e-3)
    bar = page.locator(".dlw-flow .bqplot").filter(has=page.get_by_label("Colours of the heat map", exact=True))
    ticks = bar.locator(".tick text").all_text_contents()
    assert ticks == trained.python("list(meter._pictures.color_bar._axis.tick_labels.values())")
    assert [f"1e{round(math.log10(float(tick))):+d}" for tick in ticks] == ticks  # powers of ten, not places
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


VARIED = MAKE.replace(
    "*[nn.Linear(16, 16), nn.Sigmoid()] * 8", "nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh()"
)


def test_the_colours_keep_their_numbers_whatever_the_heat_map_shows(notebook):
    trained = notebook([VARIED, TRAIN.format(stop="meter._meter.num_steps >= 40")]).run_all()
    page = trained.page
    page.wait_for_function(f"{STATE}.startsWith('Done: ')")
    bar = page.locator(".dlw-flow .bqplot").filter(has=page.get_by_label("Colours of the heat map", exact=True))
    bar.wait_for()
    choice = page.locator(".dlw-flow select").first
    python = "list(meter._pictures.color_bar._axis.tick_labels.values())"
    seen = set()
    options = [text.replace("\xa0", " ") for text in choice.locator("option").all_inner_texts()]
    for quantity in 2 * (*options, "gradient norm"):
        choice.select_option(label=quantity)
        trained.wait_for_python(f"meter.quantity == {quantity!r}")
        if trained.python("'dlw-hidden' in meter._pictures.color_bar.figure._dom_classes"):
            continue
        labels = trained.python(python)
        page.locator("text.mainheading").get_by_text(quantity).first.wait_for()
        page.evaluate(SETTLED)  # what is drawn a frame later would undo it
        assert bar.locator(".tick text").all_text_contents() == labels
        seen.add(tuple(labels))
    assert len(seen) >= 3
    assert trained.errors == []


def test_parameters_are_shown_by_what_is_chosen_and_a_dot_says_its_number(trained):
    page = trained.page
    choice = page.get_by_label("What is shown of the parameters", exact=True)
    band = page.locator(".dlw-flow .dlw-key").get_by_text("healthy, about 1e-3", exact=True)
    band.wait_for()
    for quantity, field in (("weight norm", "weight_norm"), ("gradient norm", "parameter_gradient_norm")):
        choice.select_option(label=quantity)
        chart = page.locator(".dlw-flow .bqplot").filter(has=page.get_by_label(f"{quantity} by parameter", exact=True))
        chart.locator("text.mainheading").get_by_text(f"{quantity}, step 31").wait_for()
        band.wait_for(state="hidden")
        trained.execute("meter.step = 3")
        chart.locator("text.mainheading").get_by_text(f"{quantity}, step 3").wait_for()
        page.evaluate(SETTLED)
        chart.scroll_into_view_if_needed()
        chart.locator(".object_grp").nth(1).hover(force=True)
        number = trained.python(f"f'{{float(meter.result.{field}[2, 1]):.4g}}'")
        page.locator(".bqplot_mark_tooltip").get_by_text(f"1: 0.bias, {quantity} {number}").first.wait_for()
        trained.execute("meter.step = None")
    choice.select_option(label="update / weight")
    band.wait_for()
    assert trained.errors == []


TIPS = """[...document.querySelectorAll('.bqplot_mark_tooltip')]
    .filter((tip) => getComputedStyle(tip).display !== 'none').map((tip) => tip.innerText.trim())"""


def test_a_tooltip_does_not_outlive_its_number_nor_stay_when_the_mouse_has_left(trained):
    page = trained.page
    chart = page.locator(".dlw-flow .bqplot").filter(has=page.get_by_label("gradient norms", exact=True))
    chart.scroll_into_view_if_needed()

    def point():
        for tries_left in range(7, -1, -1):  # the figure may just be laid out anew, and the dot no longer be there
            page.mouse.move(5, 5)
            box = chart.locator("path.element").nth(3).bounding_box()
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
            try:
                page.wait_for_function(f"{TIPS}.some((said) => said.startsWith('3: '))", timeout=2000)
                break
            except NotSeen:
                if not tries_left:
                    raise

    point()
    trained.execute("meter.step = 1")  # as a training does, with the mouse on the dot
    new = trained.python("f'{float(meter.result.gradient_norm[1, 3]):.4g}'")
    assert new != trained.python("f'{float(meter.result.gradient_norm[-1, 3]):.4g}'")
    page.locator("text.mainheading").get_by_text("gradient norms, step 1").wait_for()
    page.wait_for_function(f"{TIPS}.every((said) => said.endsWith(' {new}'))")  # gone, or told anew
    point()
    chart.evaluate("(figure) => figure.dispatchEvent(new PointerEvent('pointerleave'))")  # its dot is gone by then
    page.wait_for_function(f"{TIPS}.length === 0")
    assert trained.errors == []


def test_before_the_first_step_only_a_sentence_is_seen_and_then_all_is_drawn(notebook):
    opened = notebook([MAKE]).run_all()
    page = opened.page
    page.wait_for_function(f"{STATE}.startsWith('Nothing seen yet')")
    parts = page.locator(".dlw-flow .bqplot, .dlw-flow .dlw-key, .dlw-flow select, .dlw-flow button:not(.dlw-dismiss)")
    assert [part for part in parts.all() if part.is_visible()] == []
    opened.execute(TRAIN.format(stop="meter._meter.num_steps >= 3"))
    page.wait_for_function(f"{STATE}.startsWith('Done: ')")
    page.wait_for_function("document.querySelector('.dlw-flow canvas.dlw-raster-picture').width > 100")
    page.evaluate(SETTLED)
    chart = page.locator(".dlw-flow .bqplot").filter(has=page.get_by_label("gradient norms", exact=True))
    chart.scroll_into_view_if_needed()
    page.wait_for_function(
        """(chart) => {
            const { left, width } = chart.getBoundingClientRect();
            const dots = [...chart.querySelectorAll('path.element')].map((dot) => dot.getBoundingClientRect().left);
            const rising = dots.every((x, i) => x > (dots[i - 1] ?? left));
            return dots.length === 19 && rising && dots[18] > left + 0.9 * width;
        }""",
        arg=chart.element_handle(),
    )
    assert opened.errors == []


EXPLODE = """
import torch
from torch import nn
from dlwidgets import GradientFlowMeter
torch.manual_seed(0)
layers = [layer for _ in range(12) for layer in (nn.Linear(64, 64), nn.ReLU())]
model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), *layers, nn.Linear(64, 1))
with torch.no_grad():
    for parameter in model.parameters():
        parameter.mul_(5.0)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
meter = GradientFlowMeter(model, optimizer)
meter
"""

HATCHED = """() => {
    const canvas = document.querySelector('.dlw-flow canvas.dlw-raster-picture');
    const { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(0.85 * width, 0.2 * height, 0.1 * width, 0.5 * height);
    return Array.from({ length: data.length / 4 }, (_, i) => [...data.subarray(4 * i, 4 * i + 4)]);
}"""
"""The colours in the last column of the heat map."""


def test_numbers_that_overflowed_are_named_and_a_verdict_leads_to_those_that_did_not(notebook):
    opened = notebook([EXPLODE, TRAIN.format(stop="meter._meter.num_steps >= 30")]).run_all()
    page = opened.page
    page.wait_for_function(f"{STATE}.startsWith('Done: ')")
    point_at_heat_map(page, 0.9, 1.5 / 27, "1 (ReLU), step 15: gradient norm is not a number")
    page.locator(".dlw-key:visible").get_by_text("0 or no number: point there for why", exact=True).wait_for()
    colors = page.evaluate(HATCHED)
    assert {(r, g, b) for r, g, b, alpha in colors if alpha > 250} == {(204, 121, 167)}
    assert sum(alpha == 0 for *_, alpha in colors) > len(colors) / 3  # the ground is the figure's own, dark or light
    page.locator(".dlw-flow select").first.select_option(label="saturated")
    opened.wait_for_python("meter.quantity == 'saturated'")
    point_at_heat_map(page, 0.1, 0.5 / 27, "0 (Linear), step 0: has no derivative of its own")
    page.locator(".dlw-flow-verdict").get_by_text("explodes on its way back").click()
    page.locator("text.mainheading").get_by_text("gradient norms, step 0").wait_for()
    assert page.locator(".dlw-key:visible").get_by_text("not finite", exact=True).count() == 2
    assert opened.errors == []


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
    page.evaluate(SETTLED)
    # the picture is square and in the middle: the last row and the first column of output 1, input 0
    box = page.locator("canvas.dlw-raster-hover").first.bounding_box()
    side, middle = 0.94 * box["height"], box["x"] + box["width"] / 2
    point_at_heat_map(page, (middle - side * 5 / 12 - box["x"]) / box["width"], 0.03 + 0.94 * 11 / 12, "row 2")
    said = page.locator(".dlw-flow .dlw-readout > span").first.inner_text()
    number = opened.python("f'{float(lab.filters.result.plain[1, 0, 2, 0]):.4g}'")
    assert said == f"output 1, input 0, row 2, column 0: weight {number}"
    assert opened.python("(lab.left.error, lab.right.error, lab.filters.error)") == ["", "", ""]
    assert opened.errors == []
