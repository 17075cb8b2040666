"""What ``tunemv3d plugins new`` writes: a package with one component, complete and conforming as it is.

``templates`` holds the package's files as they will lie, each with ``.txt`` behind its name: ``package`` for every
slot, ``component`` for every slot with options, and a folder for each slot. ``$name`` and the like are filled in.
"""
