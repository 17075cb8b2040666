"""Recipe of the asset ``clip-mini``: a small CLIP for judging pictures of furniture, trained on renders and captions.

``render.sh`` renders the objects, ``python recipe/clip_mini pack`` puts them into one file, and ``train`` in place of
``pack`` trains on it; ``train.py`` reads from top to bottom.
"""
