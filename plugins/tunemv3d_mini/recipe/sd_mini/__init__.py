"""Recipe of the asset ``sd-mini``: a small text-to-image prior, trained from rendered furniture.

``python recipe/sd_mini --data DIR [DIR ...] --out DIR`` runs it; ``train.py`` reads from top to bottom.
"""
