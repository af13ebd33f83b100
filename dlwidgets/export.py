"""One HTML file that shows a widget without a kernel and without a network."""

import base64
import gzip
import html
import json
from importlib.metadata import distribution
from os import PathLike
from pathlib import Path
from string import Template
from typing import Any

import ipywidgets
from ipywidgets.embed import dependency_state, embed_data

EMBED = Path(__file__).parent / "embed"
"""Where `jlpm build:embed` puts our own bundle, require.js and the widget manager for pages."""


def export_page(widget: ipywidgets.Widget, path: str | PathLike[str], title: str = "dlwidgets") -> Path:
    """Write ``widget`` as it is now into one self-contained HTML file.

    What the browser computes itself goes on working there: hovering, pinning, readouts, links between widgets.
    What needs Python does not. The scripts and the state are packed by gzip, so any browser since 2023 can open it.

    Args:
        widget: any widget; everything it leads to is written too, and nothing else.
        path: the file to write; its folder must exist.
        title: the title of the page.

    Returns:
        ``path``.

    Raises:
        TypeError: ``widget`` is no widget that can be displayed, or ``path`` no path.
        FileNotFoundError: the front end was not built, or the folder does not exist.
        OSError: ``path`` cannot be written.
    """
    if not isinstance(widget, ipywidgets.DOMWidget):
        raise TypeError(f"widget must be a widget that can be displayed, got {type(widget).__name__}")
    if not isinstance(path, str | PathLike):
        raise TypeError(f"path must be the path of a file to write, got {type(path).__name__}")
    path = Path(path)
    state = dependency_state([widget], drop_defaults=False)
    for model in state.values():
        if "_busy" in model["state"]:
            model["state"].update(_busy=False, _progress=None)
    data = embed_data([widget], drop_defaults=False, state=state)
    parts = [
        ("text/javascript", _own("require.js")),
        ("text/javascript", _named("bqscales", _from_wheel("bqscales", "nbextensions/bqscales/index.js"))),
        ("text/javascript", _named("bqplot", _from_wheel("bqplot", "nbextensions/bqplot/index.js"))),
        ("text/javascript", _own("dlwidgets.js")),
        ("application/vnd.jupyter.widget-state+json", json.dumps(data["manager_state"])),
        ("application/vnd.jupyter.widget-view+json", json.dumps(data["view_specs"][0])),
        ("text/javascript", _own("embed-amd.js")),
    ]
    packed = "\n".join(f'<script type="text/plain" data-dlw="{kind}">{_pack(text)}</script>' for kind, text in parts)
    words = getattr(widget, "_description", "")
    page = _PAGE.substitute(title=html.escape(title), words=html.escape(words), packed=packed)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise type(error)(error.errno, f"path: the page cannot be written: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise ValueError(f"path: the page cannot be written to {str(path)!r}: {error}") from error
    return path


def _own(name: str) -> str:
    file = EMBED / name
    if not file.exists():
        raise FileNotFoundError(f"{name} is missing from {EMBED.name}/: build the front end with 'jlpm build:prod'")
    return file.read_text(encoding="utf-8")


def _from_wheel(package: str, ending: str) -> str:
    for file in distribution(package).files or []:
        if file.as_posix().endswith(ending):
            return Path(str(file.locate())).read_text(encoding="utf-8")
    raise FileNotFoundError(f"the installed {package} carries no {ending}")


def _named(name: str, script: str) -> str:
    """An anonymous AMD module under a name, because a page cannot tell which file it came from."""
    return script.replace("define([", f'define("{name}",[', 1)


def _pack(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


_PAGE: Any = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { margin: 12px auto; max-width: 1200px; padding: 0 8px; font-family: sans-serif;
  background: var(--jp-layout-color0, #ffffff); color: var(--jp-ui-font-color1, #212121); }
.bqplot .toolbar_div { display: none !important; }
@media (prefers-color-scheme: dark) {
  :root:root { color-scheme: dark;
    --jp-layout-color0: #111111; --jp-layout-color1: #212121; --jp-layout-color2: #424242; --jp-layout-color3: #616161;
    --jp-border-color1: #616161; --jp-border-color2: #424242; --jp-border-color3: #212121;
    --jp-ui-font-color0: #ffffff; --jp-ui-font-color1: #e0e0e0; --jp-ui-font-color2: #b0b0b0;
    --jp-content-font-color0: #ffffff; --jp-content-font-color1: #e0e0e0; --jp-content-font-color2: #b0b0b0;
    --jp-widgets-color: #e0e0e0; --jp-widgets-label-color: #e0e0e0; --jp-widgets-readout-color: #e0e0e0;
    --jp-widgets-input-color: #e0e0e0; --jp-widgets-input-background-color: #212121; }
}
</style>
</head>
<body>
<noscript>This page needs JavaScript. $words</noscript>
<div id="dlw-page"></div>
$packed
<script data-jupyter-widgets-cdn="about:blank#">
(async () => {
  const place = document.getElementById("dlw-page");
  try {
    for (const part of [...document.querySelectorAll("script[data-dlw]")]) {
      const bytes = Uint8Array.from(atob(part.textContent), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.type = part.dataset.dlw;
      script.textContent = await new Response(stream).text();
      part.remove();
      place.append(script);
    }
  } catch (error) {
    place.textContent = "This page could not be unpacked: " + error;
  }
})();
</script>
</body>
</html>
""")
