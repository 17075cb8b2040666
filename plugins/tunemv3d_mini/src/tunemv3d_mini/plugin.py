"""Places of the packaged specs and assets."""

from pathlib import Path

_HERE = Path(__file__).parent

_SPECS = _HERE / "specs"

ABLATION_CROSS_VIEW_ATTENTION_MINI_SPEC = _SPECS / "ablation-cross-view-attention-mini.json"
ABLATION_DIRECT_FEATURES_MINI_SPEC = _SPECS / "ablation-direct-features-mini.json"
ABLATION_FOUR_VIEWS_MINI_SPEC = _SPECS / "ablation-four-views-mini.json"
ABLATION_NO_NEUS_LOSS_MINI_SPEC = _SPECS / "ablation-no-neus-loss-mini.json"
ABLATION_NO_NOVEL_VIEWS_MINI_SPEC = _SPECS / "ablation-no-novel-views-mini.json"
ABLATION_NO_RAW_NOISE_MINI_SPEC = _SPECS / "ablation-no-raw-noise-mini.json"
ABLATION_TWO_VIEWS_MINI_SPEC = _SPECS / "ablation-two-views-mini.json"
BASELINE_2D_MINI_SPEC = _SPECS / "baseline-2d-mini.json"
CHAIRS_MINI_SPEC = _SPECS / "chairs-mini.json"
FURNITURE_MINI_SPEC = _SPECS / "furniture-mini.json"

_ASSETS = _HERE / "assets"

SD_MINI = _ASSETS / "sd-mini"
CLIP_MINI = _ASSETS / "clip-mini"
CHAIRS = _ASSETS / "chairs"
FURNITURE = _ASSETS / "furniture"
CHAIRS_MINI = _ASSETS / "chairs-mini"
FURNITURE_MINI = _ASSETS / "furniture-mini"
