"""The metrics that this distribution adds to the registry. Light: imports no torch."""

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_eval.metrics.clip_spec import DiversitySpec, NamedTypeSpec, RealViewsSpec, RPrecisionSpec
from tunemv3d_eval.metrics.geometry_spec import GeometryOverTSpec, TopologySpec

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

REPROJECTION = ComponentPlugin(
    slot="metric",
    name="reprojection",
    api="1.0",
    spec=ComponentSpec,
    build="tunemv3d_eval.metrics.reprojection:build_reprojection",
    summary="Has a point of the surface the same colour in all views? Through the field's own depth.",
)

SPLIT_HALF = ComponentPlugin(
    slot="metric",
    name="split-half",
    api="1.0",
    spec=ComponentSpec,
    build="tunemv3d_eval.metrics.split_half:build_split_half",
    summary="Do the odd and the even views show the same object? Fits a grid to each half; asks no network.",
    reference="After MVGBench (2025), which fits 3D Gaussians to the odd and to the even views",
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

NAMED_TYPE = ComponentPlugin(
    slot="metric",
    name="named-type",
    api="1.0",
    spec=NamedTypeSpec,
    build="tunemv3d_eval.metrics.named_type:build_named_type",
    summary="Does the object look like the type that the prompt names?",
)

PART_COLOURS = ComponentPlugin(
    slot="metric",
    name="part-colours",
    api="1.0",
    spec=ComponentSpec,
    build="tunemv3d_eval.metrics.part_colours:build_part_colours",
    summary="Have body, legs and seat the colours that the prompt names for them?",
)

KID = ComponentPlugin(
    slot="metric",
    name="kid",
    api="1.1",
    spec=RealViewsSpec,
    build="tunemv3d_eval.metrics.distribution:build_kid",
    summary="How far are the samples, as a set, from real renders? Kernel inception distance on CLIP.",
    reference="Bińkowski et al. 2018, Demystifying MMD GANs",
)

CMMD = ComponentPlugin(
    slot="metric",
    name="cmmd",
    api="1.1",
    spec=RealViewsSpec,
    build="tunemv3d_eval.metrics.distribution:build_cmmd",
    summary="How far are the samples, as a set, from real renders? CLIP maximum mean discrepancy.",
    reference="Jayasumana et al. 2024, Rethinking FID: Towards a Better Evaluation Metric for Image Generation",
)

DIVERSITY = ComponentPlugin(
    slot="metric",
    name="diversity",
    api="1.0",
    spec=DiversitySpec,
    build="tunemv3d_eval.metrics.distribution:build_diversity",
    summary="How different are the samples of one prompt?",
)

NEAREST_TRAINING_OBJECT = ComponentPlugin(
    slot="metric",
    name="nearest-training-object",
    api="1.1",
    spec=RealViewsSpec,
    build="tunemv3d_eval.metrics.distribution:build_nearest_training_object",
    summary="Which training object is a sample most like, and how much?",
)

TOPOLOGY = ComponentPlugin(
    slot="metric",
    name="topology",
    api="1.1",
    spec=TopologySpec,
    build="tunemv3d_eval.metrics.topology:build_topology",
    summary="How does the field's surface hang together: parts, handles, floaters?",
)

GEOMETRY_OVER_T = ComponentPlugin(
    slot="metric",
    name="geometry-over-t",
    api="1.1",
    spec=GeometryOverTSpec,
    build="tunemv3d_eval.metrics.geometry_over_t:build_geometry_over_t",
    summary="How near does the field's surface of noisy real views come to the real mesh, at several noise levels?",
    reference="F-score: Knapitsch et al., Tanks and Temples, ACM TOG 2017",
)
