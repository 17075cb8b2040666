"""Templates of ``tunemv3d plugins new``: a package with one component, complete and conforming as it is.

``templates`` holds the package's files under their final names plus ``.txt``: ``package`` for every slot, ``component``
for every slot with options, and one folder per slot. ``$name`` and other placeholders are filled in.
"""
