"""Interfaces that components implement.

Nothing needs to be inherited: a class that has these attributes and methods fits. Every component of a model is a
``torch.nn.Module`` with an attribute ``ports`` (``tunemv3d_core.ports``), which says what it takes and gives.
Aggregators, which live inside fields, have ``channels`` instead.

Shapes are written in the letters of ``tunemv3d_core.types``; b, n, m, h and w may differ from call to call. Units, axes
and ranges: ``docs/conventions.md``. Three rules hold for all components of a model:

- **dtype.** Outside autocast the result has the dtype of the input (float32 or bfloat16). Depth may be float32
  whatever the input is, and so may what an aggregator gives. Under autocast depth is float32, and the rest may be
  either; points, encodings, signed distances and compositing should be computed in float32
  (``tunemv3d_core.rendering.precision``).
- **Determinism.** In evaluation mode the result depends on the arguments alone, bit for bit. In training it may also
  depend on torch's global random generator, which the trainer seeds at every step.
- **Errors.** Whatever a person can mend raises a ``tunemv3d_core.errors.TuneMV3DError``; commands print its message
  without a traceback.

``tunemv3d plugins check NAME`` tries most of this on a component.
"""

from tunemv3d_core.slots.datasets import (
    KNOWN_MAPS,
    Dataset,
    HasMaps,
    HonoursOptOut,
    KeepsLatents,
    MeshRenderer,
    Streams,
)
from tunemv3d_core.slots.losses import Loss, NeedsMaps, Prediction, Targets
from tunemv3d_core.slots.meshers import Mesher, Pictures, Shape, TexturedMesh
from tunemv3d_core.slots.metrics import (
    ComparesWithReal,
    Figure,
    MeasuredObject,
    Need,
    ObjectMetric,
    SetMetric,
    figures_error,
    metric_error,
)
from tunemv3d_core.slots.model import (
    Aggregator,
    Backbone,
    CastsWeights,
    Field,
    HasSurface,
    Injector,
    KnowsCaptionWords,
    Lifter,
    LoadsAdapters,
    Offloadable,
    ReportsCutPrompts,
    Scene,
    ViewEncoder,
)
from tunemv3d_core.slots.optimisation import Optimizer, OptimizerContext, Schedule
from tunemv3d_core.slots.training import Compiles, FollowsSteps, Reports

__all__ = [
    "KNOWN_MAPS",
    "Aggregator",
    "Backbone",
    "CastsWeights",
    "ComparesWithReal",
    "Compiles",
    "Dataset",
    "Field",
    "Figure",
    "FollowsSteps",
    "HasMaps",
    "HasSurface",
    "HonoursOptOut",
    "Injector",
    "KeepsLatents",
    "KnowsCaptionWords",
    "Lifter",
    "LoadsAdapters",
    "Loss",
    "MeasuredObject",
    "MeshRenderer",
    "Mesher",
    "Need",
    "NeedsMaps",
    "ObjectMetric",
    "Offloadable",
    "Optimizer",
    "OptimizerContext",
    "Pictures",
    "Prediction",
    "Reports",
    "ReportsCutPrompts",
    "Scene",
    "Schedule",
    "SetMetric",
    "Shape",
    "Streams",
    "Targets",
    "TexturedMesh",
    "ViewEncoder",
    "figures_error",
    "metric_error",
]
