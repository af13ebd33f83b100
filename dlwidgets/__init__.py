"""Interactive widgets that show how deep networks work, on your own PyTorch model, in JupyterLab.

The public names are loaded on first use: importing the package loads neither torch nor bqplot.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
