"""The interfaces of TuneMV3D and the machinery that assembles a system from a typed spec.

Importing this package imports no torch, so that listings and command-line help stay fast.
Import what you need from its modules: ``tunemv3d_core.cameras``, ``.slots``, ``.spec``, ``.assemble`` ...
"""

__version__ = "0.1.0"
