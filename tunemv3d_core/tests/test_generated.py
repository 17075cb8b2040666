"""What generated files say of themselves, read by Pillow, the standard library's DOM and a walk over MP4 boxes."""

import json
import re
import struct
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest
from PIL import Image

from tunemv3d_core.io.file_names import without_paths
from tunemv3d_core.io.generated import MOST_CREATORS, GeneratedBy, model_name, save_picture
from tunemv3d_core.io.glb import glb
from tunemv3d_core.io.xmp import Sentence, packet, read_packet
from tunemv3d_core.slots import TexturedMesh
from tunemv3d_core.viz.animation import write_animation

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
OURS = "urn:tunemv3d:xmp:1.0#"

MANIFEST = {
    **{"prompt": "ein Stuhl, größer & <rot>", "seed": 7, "checkpoint": "/home/ada/runs/mine", "spec_id": "5e3b" * 16},
    "versions": {"tunemv3d-core": "0.9.1"},
    "data": {
        **{"dataset": {"path": "/home/ada/secret"}, "objects": 3, "licences": {"CC0-1.0": 1, "CC-BY-3.0": 2, "": 1}},
        "creators": {"Zoë": 1, "Ada & Co <x>": 2},
    },
}
BY = GeneratedBy.of(MANIFEST)


def values(xmp: bytes, uri: str, name: str) -> list[str]:
    """Texts of a property, of its array's items where it is one."""
    (element,) = minidom.parseString(xmp).getElementsByTagNameNS(uri, name)
    items = element.getElementsByTagNameNS(RDF, "li") or [element]
    return ["".join(node.data for node in item.childNodes) for item in items]


def triangle() -> TexturedMesh:
    corners = np.float32([[0, 0, 0], [1, 0, 0], [0, 0, 1]])
    faces, own = np.int32([[0, 1, 2]]), np.arange(3, dtype=np.int32)
    uv, colours = np.float32([[0, 0], [1, 0], [0, 1]]), np.full((3, 3), 90, np.uint8)
    return TexturedMesh(
        corners, faces, np.float32([[0, -1, 0]] * 3), colours, uv, own, faces, np.zeros((4, 4, 3), "u1")
    )


def check_facts(xmp: bytes) -> None:
    assert values(xmp, IPTC, "DigitalSourceType") == [MADE]
    assert values(xmp, IPTC, "AIPromptInformation") == ["ein Stuhl, größer & <rot>"]
    assert values(xmp, IPTC, "AISystemVersionUsed") == ["0.9.1"]
    assert values(xmp, OURS, "SpecId") == ["5e3b" * 16] and values(xmp, OURS, "Checkpoint") == ["mine"]
    assert values(xmp, OURS, "TrainingLicences") == ["CC-BY-3.0", "CC0-1.0"]
    assert values(xmp, OURS, "TrainingCreators") == ["Ada & Co <x>", "Zoë"]
    assert b"/home" not in xmp and b"secret" not in xmp


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_pictures_carry_it(kind: str) -> None:
    file = BytesIO()
    save_picture(Image.new("RGBA", (3, 2)), file, BY.xmp, kind)
    with Image.open(file) as picture:
        check_facts(picture.info["xmp"])
    assert file.getvalue().count(b"W5M0MpCehiHzreSzNTczkc9d") == 1, "uncompressed: scanners find it by its mark"


def test_moving_pictures_carry_it(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), (60 * i, 0, 0)) for i in range(3)]
    write_animation(tmp_path / "x.webp", frames, BY, milliseconds=40)
    with Image.open(tmp_path / "x.webp") as picture:
        assert picture.n_frames == 3
        check_facts(picture.info["xmp"])


def boxes(content: bytes) -> dict[bytes, bytes]:
    """The outermost boxes of an MP4 file by their type."""
    found, at = {}, 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        found[kind] = content[at + 8 : at + size]
        at += size
    assert at == len(content)
    return found


def test_videos_carry_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")

    def encode(path: Path, frames: list[Image.Image], milliseconds: int) -> None:
        with av.open(str(path), "w", format="mp4") as file:
            stream = file.add_stream("mpeg4", rate=25, width=16, height=16)
            for frame in frames:
                file.mux(stream.encode(av.VideoFrame.from_image(frame)))
            file.mux(stream.encode())

    monkeypatch.setattr("tunemv3d_core.viz.animation._write_mp4", encode)
    write_animation(tmp_path / "x.mp4", [Image.new("RGB", (16, 16))] * 3, BY, milliseconds=40)
    held = boxes((tmp_path / "x.mp4").read_bytes())[b"uuid"]
    assert held[:16].hex() == "be7acfcb97a942e89c71999491e3afac", "XMP specification, part 3"
    check_facts(held[16:])
    with av.open(str(tmp_path / "x.mp4")) as file:
        assert sum(1 for _ in file.decode(video=0)) == 3, "it still plays"


def check_json_ld(value: Any, context: dict[str, str]) -> None:
    """The restrictions of KHR_xmp_json_ld: arrays only below @set and @list, values only of known kinds."""
    if isinstance(value, dict):
        assert "@context" not in value, "local contexts are forbidden"
        assert set(value) <= {"@set", "@list", "@type", "@language", "@value"} or all(
            ":" in key for key in value if key[0] != "@"
        )
        for key, inner in value.items():
            if key in ("@set", "@list"):
                assert isinstance(inner, list) and all(isinstance(each, str) for each in inner)
            else:
                check_json_ld(inner, context)
                assert key[0] == "@" or key.partition(":")[0] in context
    else:
        assert isinstance(value, str | int | float | bool)


def test_a_glb_carries_it_as_the_ratified_extension_says() -> None:
    content = glb(triangle(), BY)
    tree = json.loads(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]])
    extension = tree["extensions"]["KHR_xmp_json_ld"]
    assert "KHR_xmp_json_ld" in tree["extensionsUsed"] and "extensionsRequired" not in tree
    assert tree["asset"]["extensions"] == {"KHR_xmp_json_ld": {"packet": 0}} and len(extension["packets"]) == 1
    packet = dict(extension["packets"][0])
    context = packet.pop("@context")
    assert context["Iptc4xmpExt"] == IPTC and context["rdf"] == RDF
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", prefix) for prefix in context)
    assert len(set(context.values())) == len(context), "no two prefixes of one namespace"
    check_json_ld(packet, context)
    assert packet["Iptc4xmpExt:DigitalSourceType"] == MADE
    assert packet["tunemv3d:TrainingCreators"] == {"@set": ["Ada & Co <x>", "Zoë"]}
    assert packet["dc:rights"]["rdf:_1"]["@value"] == tree["asset"]["copyright"]
    assert b"/home" not in content and b"secret" not in content
    view = tree["bufferViews"][tree["images"][0]["bufferView"]]
    start = 28 + struct.unpack_from("<I", content, 12)[0] + view["byteOffset"]
    with Image.open(BytesIO(content[start : start + view["byteLength"]])) as texture:
        check_facts(texture.info["xmp"])


def test_what_was_partly_given_is_a_composite() -> None:
    assert values(BY.composite_xmp, IPTC, "DigitalSourceType") == [MADE.replace("trained", "compositeWithTrained")]


def test_a_packet_is_read_back() -> None:
    assert read_packet(BY.xmp) == BY.properties()
    odd = {"dc:rights": Sentence("a\x00b\ud800"), "tunemv3d:TrainingLicences": ["\x1b[31m"], "dc:source": "x\ny"}
    read = {"dc:rights": "a\ufffdb\ufffd", "tunemv3d:TrainingLicences": ["\ufffd[31m"], "dc:source": "x\ny"}
    assert read_packet(packet(odd)) == read
    for bad in (b"<x", b'<!DOCTYPE a [<!ENTITY b "c">]><a/>'):
        with pytest.raises(ValueError, match="XMP packet"):
            read_packet(bad)


def test_comments_are_two_lines_whatever_stands_in_them() -> None:
    by = GeneratedBy("a\nv 1 2 3", licences=("x\r\nf 1 2 3",), prompt="p\nq")
    assert len(by.comments) == 2 and not any(mark in line for line in by.comments for mark in "\r\n\u2028")


def test_a_crowd_of_creators_is_counted() -> None:
    crowd = {f"creator {i}": 1 for i in range(MOST_CREATORS + 5)} | {"zealous": 9}
    facts = GeneratedBy.of({"data": {"creators": crowd}}).properties()
    named = facts["tunemv3d:TrainingCreators"]
    assert len(named) == MOST_CREATORS and named[0] == "zealous"
    assert facts["tunemv3d:TrainingCreatorsInAll"] == str(MOST_CREATORS + 6)


@pytest.mark.parametrize("manifest", [{}, {"data": [], "versions": 3, "seed": "x"}, {"data": {"licences": ["a"]}}])
def test_a_manifest_that_knows_little_still_says_that_it_was_generated(manifest: dict[str, Any]) -> None:
    assert values(GeneratedBy.of(manifest).xmp, IPTC, "DigitalSourceType") == [MADE]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        *(("chairs-mini", "chairs-mini"), ("ada/chairs", "ada/chairs"), ("/home/ada/runs/mine", "mine")),
        *(("runs/mine/checkpoints/step-000500", "mine/step-000500"), ("step-000500", "step-000500")),
        *((r"C:\Users\ada\mine", "mine"), ("~/mine", "mine"), ("../mine", "mine"), ("a/b/c", "c"), ("/", "?")),
    ],
)
def test_models_are_named_without_folders(given: str, told: str) -> None:
    assert model_name(given) == told


def test_a_local_folder_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert model_name("runs/mine") == "mine"


def test_paths_leave_their_last_part() -> None:
    given = {"a": ["/home/ada/x.png", "rel/y.png", r"C:\Users\z"], "b": {"c": "~/d/e"}, "n": 3}
    assert without_paths(given) == {"a": ["x.png", "rel/y.png", "z"], "b": {"c": "e"}, "n": 3}
