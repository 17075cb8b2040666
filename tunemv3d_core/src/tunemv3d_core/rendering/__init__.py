"""Rays through a scene: the tools that fields are written with.

``rays`` turns cameras into the rays that are worth rendering and back into maps; ``volume`` says where to look along a
ray and how what is seen adds up; ``surface`` is a whole scene made of a signed distance and values; ``encoding`` has
sinusoids of points and noise levels; ``precision`` says where autocast is switched off.
"""
