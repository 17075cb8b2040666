"""Nodes for ComfyUI, which reads the two mappings. Importing this imports no torch."""

from tunemv3d_comfyui.load_nodes import TuneMV3DLoad, TuneMV3DLora
from tunemv3d_comfyui.object_nodes import TuneMV3DMesh, TuneMV3DPreview, TuneMV3DSample

__version__ = "0.1.0"

NODE_CLASS_MAPPINGS: dict[str, type] = {
    node.__name__: node for node in (TuneMV3DLoad, TuneMV3DLora, TuneMV3DSample, TuneMV3DPreview, TuneMV3DMesh)
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "TuneMV3DLoad": "TuneMV3D Load",
    "TuneMV3DLora": "TuneMV3D LoRA",
    "TuneMV3DSample": "TuneMV3D Sample",
    "TuneMV3DPreview": "TuneMV3D Preview",
    "TuneMV3DMesh": "TuneMV3D Mesh",
}
