"""Rays through a scene: the tools that fields are written with.

``rays`` makes ray bundles from cameras and maps from what they render; ``volume`` samples depths along rays and
composites signed distances or densities; ``sdf_scene`` is a whole scene made of a signed distance and values;
``view_features`` samples the views' feature maps at points; ``encoding`` has sinusoids and ray coordinates; ``points``
draws points of a ball and of a grid; ``spec`` has the options that fields share, ``build`` their ports; ``precision``
switches autocast off.
"""
