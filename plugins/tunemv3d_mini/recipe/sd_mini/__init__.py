"""How the asset ``sd-mini`` is made: a small text-to-image prior, trained from rendered furniture.

``python recipe/sd_mini --data DIR [DIR ...] --out DIR`` runs it; ``train.py`` reads from top to bottom.
"""
