"""Words in the names that files and catalogues give to objects, without identifiers and words of file formats."""

import re
import unicodedata

_GENERIC = frozenset(
    "asset blend cad collada copy default download dsc exported fbx file final free geometry glb gltf group img "
    "lowpoly mesh model models node none normalized obj object objects off ply poly prop rigged root scan scene "
    "sketchfab stl surface test textured tmp unnamed untitled usdz version".split()
)
_MOST_WORDS = 6
_IDENTIFIERS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # uuid
    r"|(?<![^\W_])[0-9a-f]{16,}(?![^\W_])"  # hashes: ShapeNet, Objaverse, TRELLIS
    r"|(?<![^\W_])(?:[a-z]+\d+[a-z]|\d+[a-z]+\d)[a-z\d]*(?![^\W_])"  # b07xj8c8f5
    r"|(?=[a-z]*\d)[^\W_]{20,}",
    re.IGNORECASE,
)


def words_of(text: str) -> str:
    """Return the words in ``text`` that may say what an object is, in lower case; "" if there are none.

    "OfficeChair_02" gives "office chair"; a uuid, "model_normalized" and "untitled (3)" give "".
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    spaced = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", " ", _IDENTIFIERS.sub(" ", plain))
    lower = re.sub(r"\blow[ _\-]?poly\b|3d|[_\-]", " ", spaced.lower())
    words = re.sub(r"[^a-z' ]+", " ", lower).split()
    # What is left of codes: single letters, and letters that nobody can pronounce.
    kept = [w for w in words if len(w) > 1 and w not in _GENERIC and (len(w) < 5 or re.search(r"[aeiouy]", w))]
    return " ".join(kept[:_MOST_WORDS])
