"""The browser tests' own footing: widgets appear, and the kernel answers."""


def test_a_slider_appears_and_the_kernel_hears_it(notebook):
    cell = "import ipywidgets\nslider = ipywidgets.IntSlider(3, 0, 9, description='depth')\nslider"
    page = notebook([cell]).run_all()
    slider = page.output().locator(".noUi-handle")
    slider.focus()
    slider.press("ArrowRight")
    page.wait_for_python("slider.value == 4")
    assert page.python("slider.value") == 4
    assert page.errors == []
