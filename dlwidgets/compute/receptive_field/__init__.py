"""Which input positions a unit of a network can see: `trace` a model once, then ask.

An input position belongs to the field of a unit if *some* finite weights and inputs let a change there change the
unit, in the module's present train or eval mode. Every floating-point Parameter is free, independently at each use;
buffers, Python constants and tensors made from them keep their values, so that a zero in a fixed kernel, a prune mask
or a masked convolution is a hole, and ``0.0 * f(x)`` adds nothing. Other inputs and random draws are free. A
cancellation between two computed paths (``f(x) - f(x)``) is not looked for: the superset is called exact in this
per-use sense. Padding is not input; reflect, replicate and circular padding lead back to real positions. Fields are
unions over the input's channels and belong to sample 0 of the batch.

How it works: `running` runs the model once under a recorder (`capture`), which notes every op (`graph`) mostly without
computing numbers; ``rules_*`` say what each op reads, as links (`links`) between sets of positions (`regions`);
`walk` follows them back from a unit to the input; `constants` knows the numbers that nothing can change; `geometry` has
sizes and jumps as if there were no edges; `many_units` answers for whole layers; `effective` measures gradients.
"""

from .effective import EffectiveField, effective_receptive_field
from .many_units import Table
from .results import Field, Layer
from .tracing import Trace, trace

__all__ = ["EffectiveField", "Field", "Layer", "Table", "Trace", "effective_receptive_field", "trace"]
