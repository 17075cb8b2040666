"""Names of the kit's test components: by slot the good one, by check the descriptor that fails it, and by name the
components of ``kit_look_ups``, ``kit_geometry`` and ``kit_scenes`` with the check that finds each.
"""

GOOD = {
    "backbone": "Backbone",
    "view_encoder": "ViewEncoder",
    "field": "Field",
    "lifter": "Lifter",
    "injector": "StandInInjector",
    "aggregator": "StandInAggregator",
    "loss": "Loss",
    "mesher": "Star",
    "metric": "Brightness",
}

DESCRIPTORS = {
    "discoverable": "MISNAMED",
    "light_descriptor": "HEAVY",
    "interface_version": "FROM_TOMORROW",
    "spec_frozen": "CHANGEABLE",
    "spec_closed": "OPEN",
    "spec_described": "SILENT",
    "spec_round_trip": "DRIFTING",
}

LOOK_UPS = {
    "SwapsXAndY": "rolled_views",
    "TransposesMaps": "rolled_views",
    "YUp": "rolled_views",
    "OpenGLCameras": "looks_at_points",
    "MirrorsTheWorld": "looks_at_points",
    "YUpWorld": "looks_at_points",
    "WorldToCamera": "looks_at_points",
    "TransposedRotation": "looks_at_points",
    "AlignsCorners": "cropped_views",
    "HalfAPixelOff": "rolled_views",
    "FxForFy": "rolled_views",
    "CentredLenses": "cropped_views",
    "SquareLenses": "cropped_views",
    "IgnoresDistance": "looks_at_points",
    "IgnoresCameras": "depends_on_cameras",
    "OneCameraForAll": "looks_at_points",
}
"""Broken look-ups, of aggregators and of fields, and the check that finds each."""

FIELDS = {
    "QuerySwapsXAndY": "rolled_camera",
    "QueryYUp": "rolled_camera",
    "QueryHalfAPixelOff": "rolled_camera",
    "QueryFxForFy": "rolled_camera",
    "QueryCentredLenses": "turned_camera",
    "QueryOpenGL": "looks_along_rays",
    "QueryMirrored": "looks_along_rays",
    "IgnoresQueryCamera": "rolled_camera",
    "FirstQueryCamera": "query_views_apart",
    "MixesQueryViews": "query_views_apart",
    "InvertsOpacity": "empty_outside_sphere",
    "OpaqueEverywhere": "empty_outside_sphere",
    "DetachesOpacity": "gradients_reach_inputs",
    "DividesValues": "premultiplied_values",
    "PaintsWhite": "empty_outside_sphere",
    "DepthOfRays": "turned_camera",
    "DepthTimesOpacity": "depth_within_sphere",
    "FarWhereNothingIs": "empty_outside_sphere",
    "DepthFromTheSphere": "depth_within_sphere",
    "Disparity": "depth_within_sphere",
    "HalfDepth": "dtype_kept",
    "NormalsInward": "normals_outward",
    "NormalsInCamera": "rolled_camera",
    "NormalsOfLengthTwo": "unit_normals",
    "NormalsTowardsCamera": "normals_outward",
    "NegatesDistance": "distance_of_surface",
    "TriplesDistance": "distance_in_world_units",
    "DistanceOfASphere": "distance_follows_features",
    "DistanceOfASmallerShape": "distance_of_surface",
    "DistanceWithoutSign": "distance_of_surface",
    "IgnoresT": "depends_on_t",
    "NormalisesOverObjects": "objects_apart",
    "DividesByZero": "gradients_finite",
    "LossOfNothing": "gradients_finite",
    "KeepsATensor": "tensors_registered",
    "NoLosses": "makes_scene",
    "GivesATuple": "makes_scene",
    "CountsAxes": "makes_scene",
    "StopsAtEightViews": "view_permutation",
    "LeaksOutOfTheSphere": "empty_outside_sphere",
}
"""Broken fields, and the check that finds each."""
