"""Interactive widgets that show how deep networks work, on your own PyTorch model, in JupyterLab."""
