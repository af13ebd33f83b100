from .widgets.dropout import DropoutSimulator as DropoutSimulator
from .widgets.gradient_flow import GradientFlowMeter as GradientFlowMeter
from .widgets.latent_space import LatentSpaceExplorer as LatentSpaceExplorer
from .widgets.receptive_field import ReceptiveFieldViewer as ReceptiveFieldViewer

__all__ = ["DropoutSimulator", "GradientFlowMeter", "LatentSpaceExplorer", "ReceptiveFieldViewer"]
