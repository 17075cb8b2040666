"""XMP (ISO 16684-1): a few properties of a file as an RDF/XML packet, and as the JSON-LD that glTF carries.

A property's value is a text, an unordered array of texts (a list), or a ``Sentence``, which XMP keeps by language.
"""

import re
from typing import Any
from xml.etree import ElementTree as Tree

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

PREFIXES = {
    "rdf": RDF,
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "tunemv3d": "urn:tunemv3d:xmp:1.0#",
}
"""Namespaces by the prefixes that names of properties begin with; the last is our own."""

_META = "adobe:ns:meta/"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_BEGIN, _END = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>', b'<?xpacket end="w"?>'

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold."""


class Sentence(str):
    """A text for people to read, in English."""


Properties = dict[str, str | list[str]]
"""Values by name, such as "dc:rights"."""


def packet(properties: Properties) -> bytes:
    """Write properties as an XMP packet: RDF/XML in UTF-8. The same properties give the same bytes."""
    for prefix, uri in {**PREFIXES, "x": _META}.items():
        Tree.register_namespace(prefix, uri)
    meta = Tree.Element(f"{{{_META}}}xmpmeta")
    about = Tree.SubElement(Tree.SubElement(meta, _rdf("RDF")), _rdf("Description"), {_rdf("about"): ""})
    for name, value in properties.items():
        parent = Tree.SubElement(about, _qualified(name))
        if isinstance(value, list):
            items = Tree.SubElement(parent, _rdf("Bag"))
            for each in value:
                Tree.SubElement(items, _rdf("li")).text = _clean(each)
        elif isinstance(value, Sentence):
            item = Tree.SubElement(Tree.SubElement(parent, _rdf("Alt")), _rdf("li"), {_LANG: "x-default"})
            item.text = _clean(value)
        else:
            parent.text = _clean(value)
    return b"\n".join((_BEGIN, Tree.tostring(meta, encoding="utf-8"), _END))


def read_packet(content: bytes) -> Properties:
    """Read the properties of a packet as ``packet`` writes it; those of other namespaces are left out.

    Raises:
        ValueError: no XML, or it declares entities, which could make a small packet a huge text.
    """
    if b"<!DOCTYPE" in content:
        raise ValueError("the XMP packet declares a document type")
    try:
        root = Tree.fromstring(content.rstrip(b"\0 "))
    except Tree.ParseError as error:
        raise ValueError(f"the XMP packet is no XML: {error}") from None
    prefixes = {uri: prefix for prefix, uri in PREFIXES.items()}
    found: Properties = {}
    for element in (each for about in root.iter(_rdf("Description")) for each in about):
        uri, _, name = element.tag.removeprefix("{").partition("}")
        if uri in prefixes:
            items = [item.text or "" for item in element.iter(_rdf("li"))]
            single = items[0] if element.find(_rdf("Alt")) is not None and items else element.text or ""
            found[f"{prefixes[uri]}:{name}"] = items if element.find(_rdf("Bag")) is not None else single
    return found


def json_ld(properties: Properties) -> dict[str, Any]:
    """Return properties as a packet of glTF's extension KHR_xmp_json_ld."""
    used = {name.partition(":")[0] for name in properties} | {"rdf"}
    tree: dict[str, Any] = {"@context": {prefix: uri for prefix, uri in PREFIXES.items() if prefix in used}}
    for name, value in properties.items():
        if isinstance(value, list):
            tree[name] = {"@set": value}
        elif isinstance(value, Sentence):
            tree[name] = {"@type": "rdf:Alt", "rdf:_1": {"@language": "en", "@value": value}}
        else:
            tree[name] = value
    return tree


def _rdf(name: str) -> str:
    return f"{{{RDF}}}{name}"


def _qualified(name: str) -> str:
    prefix, _, rest = name.partition(":")
    return f"{{{PREFIXES[prefix]}}}{rest}"


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
