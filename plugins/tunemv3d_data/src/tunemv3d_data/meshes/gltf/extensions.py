"""Which extensions of glTF are read, and what is lost with others."""

from tunemv3d_core.errors import DatasetError

READ = {
    *("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression", "KHR_mesh_quantization"),
    *("KHR_texture_transform", "EXT_texture_webp", "EXT_texture_avif", "EXT_mesh_gpu_instancing"),
    *("KHR_materials_pbrSpecularGlossiness", "KHR_materials_unlit", "KHR_materials_emissive_strength"),
    *("KHR_materials_variants", "KHR_node_visibility"),
}
"""Applied, each by the module that names it."""

_GLOSS = {
    f"KHR_materials_{name}" for name in ("anisotropy", "clearcoat", "dispersion", "ior", "iridescence", "specular")
}
_NO_SURFACE = {
    *("KHR_lights_punctual", "KHR_animation_pointer", "KHR_xmp_json_ld", "EXT_mesh_features"),
    *("EXT_structural_metadata", "KHR_node_hoverability", "KHR_node_selectability"),
}
_LOSSES = {
    "KHR_materials_transmission": "what is behind the glass is not seen through it",
    "KHR_materials_diffuse_transmission": "no light comes through the surface",
    "KHR_materials_volume": "the glass is not coloured by its depth",
    "KHR_materials_sheen": "the cloth has no sheen",
    "KHR_texture_basisu": "KTX2 pictures are not read",
    "MSFT_texture_dds": "DDS pictures are not read",
}


def is_quiet(name: str) -> bool:
    """Return whether nothing is lost: renderers show no gloss whatever a file says, and no lights or metadata."""
    return name in _GLOSS or name in _NO_SURFACE


def loss(name: str) -> str:
    """Say what a picture lacks without an extension."""
    return _LOSSES.get(name, "it is not known, and the object may look otherwise")


def check_required(names: list[str]) -> None:
    """Refuse a file that cannot be shown without an extension that is not read.

    Raises:
        DatasetError: names it. Those that cost no more than a note are let through.
    """
    unknown = sorted({name[:80] for name in names if not (name in READ or name in _LOSSES or is_quiet(name))})
    if unknown:
        raise DatasetError(f"needs the glTF extension {', '.join(unknown)}, which is not read; export it without")
