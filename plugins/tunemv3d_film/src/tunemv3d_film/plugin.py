"""Descriptors of this distribution's components. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_film.spec import FiLMSpec

FILM = ComponentPlugin(
    slot="injector",
    name="film",
    api="1.0",
    spec=FiLMSpec,
    build="tunemv3d_film.injector:build",
    summary="Lifted maps scale and shift the frozen skips, cell by cell; nothing at the start",
    reference="FiLM, arXiv:1709.07871; Stable Diffusion with SFT, arXiv:2305.07015",
)

FILM_MINI_SPEC = Path(__file__).parent / "film-mini.json"
