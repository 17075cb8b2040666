"""The commands ``tunemv3d mesh`` and ``tunemv3d refine``."""
