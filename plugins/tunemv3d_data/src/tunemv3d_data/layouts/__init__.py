"""Other people's datasets, read as they are: one file per layout, one interface (``layouts.collection``).

To add a layout, write a module with the four parts of ``layouts.collection.Layout`` and name it in ``LAYOUTS`` there.
"""

from tunemv3d_data.layouts.collection import OURS, Collection, open_dataset

__all__ = ["OURS", "Collection", "open_dataset"]
