"""Which input positions a unit of a network can see."""

from .tracing import Field, Layer, Trace, trace

__all__ = ["Field", "Layer", "Trace", "trace"]
