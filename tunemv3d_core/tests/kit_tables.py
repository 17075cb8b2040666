"""Names of the kit's test components: by slot the good one, by check the descriptor that fails it."""

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
