"""The metrics that this distribution adds to the registry. Light: imports no torch."""

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_eval.metrics.clip_spec import RPrecisionSpec

HULL_RECALL = ComponentPlugin(
    slot="metric",
    name="hull-recall",
    api="1.0",
    spec=ComponentSpec,
    build="tunemv3d_eval.metrics.hull_recall:build_hull_recall",
    summary="Do the views' silhouettes lie inside one another's visual hulls? Looks at the pictures alone.",
    reference="Laurentini, The Visual Hull Concept for Silhouette-Based Image Understanding, PAMI 1994",
)

LEAVE_ONE_OUT = ComponentPlugin(
    slot="metric",
    name="leave-one-out",
    api="1.0",
    spec=ComponentSpec,
    build="tunemv3d_eval.metrics.leave_one_out:build_leave_one_out",
    summary="How well does the field show a view that it was not given?",
)

OPACITY_IOU = ComponentPlugin(
    slot="metric",
    name="opacity-iou",
    api="1.0",
    spec=ComponentSpec,
    build="tunemv3d_eval.metrics.opacity_iou:build_opacity_iou",
    summary="Does the field's opacity cover what the views show?",
)

POSE_AGREEMENT = ComponentPlugin(
    slot="metric",
    name="pose-agreement",
    api="1.0",
    spec=ComponentSpec,
    build="tunemv3d_eval.metrics.pose_agreement:build_pose_agreement",
    summary="Is the object seen from the cameras that were asked for?",
)

COLOUR = ComponentPlugin(
    slot="metric",
    name="colour",
    api="1.0",
    spec=ComponentSpec,
    build="tunemv3d_eval.metrics.colour:build_colour",
    summary="Has the foreground the first colour that the prompt names?",
)

R_PRECISION = ComponentPlugin(
    slot="metric",
    name="r-precision",
    api="1.0",
    spec=RPrecisionSpec,
    build="tunemv3d_eval.metrics.r_precision:build_r_precision",
    summary="Is the prompt found again among other texts, by CLIP? Four published protocols.",
    reference="Park et al. 2021, Benchmark for Compositional Text-to-Image Synthesis (R-precision by CLIP)",
)
