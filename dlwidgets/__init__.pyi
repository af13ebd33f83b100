from .widgets.receptive_field import ReceptiveFieldViewer as ReceptiveFieldViewer

__all__ = ["ReceptiveFieldViewer"]
