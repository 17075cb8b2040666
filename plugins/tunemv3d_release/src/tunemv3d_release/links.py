"""A README's relative links, led to where they work outside the repository, such as on an index's page."""

import gzip
import io
import posixpath
import re
import tarfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

INDEX = "https://pypi.org/project/"
LABELS = ("source", "repository", "sourcecode", "github")
"""Of ``[project.urls]``, normalised: which address is the repository's."""

_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$|^(?: {4}|\t)[^\n]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^)\s]+)\)")
_TAG = re.compile(r"<img\b[^>]*?\bsrc=\"([^\"]+)\"[^>]*>")


def with_whole_links(text: str, folder: Path, urls: Mapping[str, str], version: str) -> str:
    """Return a README whose links lead to addresses.

    A link to another distribution's README leads to that distribution's page on the index. Other links and pictures
    lead to the repository, at the tag ``v`` + version, in GitHub's manner. Where ``urls`` names no repository, such a
    link becomes its words, and such a picture is left out. Code is left as it is.

    Args:
        text: Markdown.
        folder: where the README lies.
        urls: table ``[project.urls]``.
        version: of the release.
    """
    address = next((url.rstrip("/") for label, url in urls.items() if _normal(label) in LABELS), "")
    root = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)

    def led(target: str, picture: bool) -> str:
        """Return the address of a target; "" where there is none."""
        parts = urlsplit(target)
        if parts.scheme or not parts.path:
            return target
        file = (folder / parts.path).resolve()
        name = _distribution(file.parent) if file.name == "README.md" else ""
        if name:
            return f"{INDEX}{name}/"
        if not address or not file.is_relative_to(root.resolve()):
            return ""
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        place = posixpath.join("raw" if picture else "blob", f"v{version}", file.relative_to(root.resolve()).as_posix())
        return f"{address}/{place}{anchor}"

    def link(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        where = led(target, bool(picture))
        return f"{picture}[{words}]({where})" if where else "" if picture else words

    def tag(found: re.Match[str]) -> str:
        where = led(found[1], picture=True)
        return found[0].replace(f'"{found[1]}"', f'"{where}"') if where else ""

    kept = [(found.start(), found.end()) for found in _FENCE.finditer(text)]
    pieces, last = [], 0
    for start, end in [*kept, (len(text), len(text))]:
        pieces += [_TAG.sub(tag, _LINK.sub(link, text[last:start])), text[start:end]]
        last = end
    return "".join(pieces)


def rewrite_sdist(sdist: Path, readme: str, text: str) -> None:
    """Put another README into an sdist, and into its metadata, from where a wheel takes it too.

    Args:
        sdist: ``.tar.gz``.
        readme: the README's place in the project, as ``pyproject.toml`` names it.
        text: the new one.
    """
    with tarfile.open(sdist) as old:
        members = [(each, old.extractfile(each)) for each in old.getmembers()]
        content = [(each, b"" if file is None else file.read()) for each, file in members]
    out = io.BytesIO()
    # No time in the header: the same sources make the same bytes.
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as new:
        for each, data in content:
            place = each.name.partition("/")[2]
            if place == readme:
                data = text.encode()
            elif place == "PKG-INFO":
                data = data.partition(b"\n\n")[0] + b"\n\n" + text.encode()
            each.size = len(data)
            new.addfile(each, io.BytesIO(data) if each.isfile() else None)
    sdist.write_bytes(out.getvalue())


def _normal(label: str) -> str:
    return re.sub(r"[^a-z]", "", label.lower())


def _distribution(folder: Path) -> str:
    """Return the name of the distribution whose sources a folder is; "" if it is none."""
    try:
        return str(tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["name"])
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        return ""
