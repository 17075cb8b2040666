"""Programs that run inside Blender, in a process of its own: they import bpy and NumPy, and nothing of this project."""
