from .widgets.dropout import DropoutSimulator as DropoutSimulator
from .widgets.latent_space import LatentSpaceExplorer as LatentSpaceExplorer
from .widgets.receptive_field import ReceptiveFieldViewer as ReceptiveFieldViewer

__all__ = ["DropoutSimulator", "LatentSpaceExplorer", "ReceptiveFieldViewer"]
