"""English words for colours, each with sRGB shades that bear it."""

PALETTE: dict[str, tuple[str, ...]] = {
    word: tuple(shades.split())
    for word, shades in {
        "red": "c82024 96181c 641216 e23c34 be3c50 962a1e 964a4c e13e16 ac283e 822d3c 6e2630",
        "orange": "ee7e1e d66818 c8681a f89e42 e86024",
        "yellow": "f2d030 d6ae26 fae66e ecc85a be9c14",
        "green": "30963e 1c5c28 6eb432 8ccd54 3c5024 28c846 283a22 788c3c 426e48 608060 34503a",
        "turquoise": "2ebab2 5aa09c 1e8282 78d6ce",
        "light blue": "8cc4ec 6ca8dc 7a9cb6 b0d4ee 58b0ec",
        "blue": "264ebe 182878 3c6ed2 181e46 1c3c5c 466496 2c6eb4 2c465c 405674 62728e",
        "purple": "7e3ca6 604c6e 9682ac 54246e a068c8 6e1e6e 3c1e50",
        "pink": "ee8cb6 ce96a4 f6b2cc dc6496 ec788c dc3c8c",
        "brown": "744828 966236 54321e b07846 3a261c 8c4622 b88858 625040 8c6c56 a07d64",
        "beige": "dac6a4 c6aa82 e8dcc4 ceb698 b2a086",
        "white": "f0f0ee ffffff dededc cecece f6f2e8",
        "grey": "868688 6e6e70 a0a0a2 b6b6b6 545456 464648 827a70",
        "black": "242426 141416 343436 2c2826 1e222c",
    }.items()
}
"""Shades of each word in hexadecimal: the plainest first, then darker, lighter and duller sorts.

Captions are written and prompts are judged in these words."""
