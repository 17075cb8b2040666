"""HTML that is as small as its content: hundreds of pages carry no navigation of one another, and no empty marks."""

import gzip
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

from tunemv3d_show.compose import model_viewer

LOGGER = logging.getLogger(__name__)
PLAIN = {
    'class="reference internal"': 'class="reference"',
    'class="docutils literal notranslate"': 'class="literal"',
    ' class="row-odd"': "",
    ' class="row-even"': "",
    "docutils align-default": "docutils",
}
"""Classes that no style asks for, and what is left of them."""
_KEPT = re.compile(r"(<pre.*?</pre>|<script.*?</script>|<style.*?</style>|<svg.*?</svg>)", re.DOTALL)
_PAREN = re.compile(r'<span class="sig-paren">(.)</span>')


class PlainTranslator(HTML5Translator):
    """Sphinx's HTML without a mark around every word of code, a fifth of the reference's size."""

    def visit_Text(self, node: nodes.Text) -> None:
        """Write text; that of code does not differ."""
        kept, self.protect_literal_text = self.protect_literal_text, 0
        super().visit_Text(node)
        self.protect_literal_text = kept

    def starttag(self, node: nodes.Element, tagname: str, suffix: str = "\n", empty: bool = False, **other: Any) -> str:
        """Return a tag, without the classes that no style asks for."""
        tag: str = super().starttag(node, tagname, suffix, empty, **other)
        for old, new in PLAIN.items():
            tag = tag.replace(old, new)
        return tag

    def visit_paragraph(self, node: nodes.Element) -> None:
        """Begin a paragraph; one that is all of a table's cell needs no mark."""
        if not _fills_cell(node):
            super().visit_paragraph(node)

    def depart_paragraph(self, node: nodes.Element) -> None:
        """End it."""
        if not _fills_cell(node):
            super().depart_paragraph(node)

    def _unmarked(self, node: nodes.Element) -> None:
        """Begin or end a word of a signature, which needs no mark."""

    visit_desc_sig_space = depart_desc_sig_space = _unmarked
    visit_desc_sig_name = depart_desc_sig_name = _unmarked
    visit_desc_sig_punctuation = depart_desc_sig_punctuation = _unmarked
    visit_desc_sig_operator = depart_desc_sig_operator = _unmarked

    def visit_reference(self, node: nodes.Element) -> None:
        """Begin a link; where it leads within the site is written in its address, and need not be told again."""
        if node.get("internal"):
            node.attributes.pop("reftitle", None)
        super().visit_reference(node)

    def visit_desc_signature(self, node: nodes.Element) -> None:
        """Begin a signature."""
        super().visit_desc_signature(node)
        self._signature = len(self.body)

    def depart_desc_signature(self, node: nodes.Element) -> None:
        """End a signature; parameters on lines of their own are no list of definitions, as which Sphinx marks them."""
        tags = {"<dl>\n": '<div class="parameters">', "</dl>\n": "</div>", "<dd>": "<div>", "</dd>\n": "</div>"}
        for place in range(self._signature, len(self.body)):
            for old, new in tags.items():
                self.body[place] = self.body[place].replace(old, new)
            self.body[place] = _PAREN.sub(r"\1", self.body[place])
        # Its place stands in the page's own table of contents: no link to itself beside it.
        ids, node["ids"] = node["ids"], []
        super().depart_desc_signature(node)
        node["ids"] = ids


def _fills_cell(node: nodes.Element) -> bool:
    return isinstance(node.parent, nodes.entry) and len(node.parent) == 1


def own_branch(app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Open the reader's own branch of the navigation alone, and write both plainly; for ``html-page-context``."""
    if "toctree" in context:
        whole = context["toctree"]
        # A heading needs a level, which Sphinx does not say of the navigation's.
        levelled = 'role="heading" aria-level="2"'
        context["toctree"] = lambda **options: whole(**options | {"collapse": True}).replace('role="heading"', levelled)
    if "toc" in context:
        context["toc"] = context["toc"].replace('<code class="literal">', "<code>")


def visit_formula(translator: Any, node: nodes.math) -> None:
    """Write a formula in a line as MathML, which browsers set without a script."""
    translator.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def visit_formula_block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula of its own."""
    translator.body.append(f'<div class="formula">{_mathml(node, "block")}</div>')
    raise nodes.SkipNode


def _mathml(node: nodes.Element, display: str) -> str:
    """A formula's MathML; a warning where its LaTeX is wrong or has a command that is not known."""
    latex = node.astext()
    try:
        formula = convert(latex, display=display)
    except Exception as error:
        formula = f"\\{type(error).__name__}"
    if "\\" in formula:
        LOGGER.warning("no formula: %s", latex, location=node)
    return formula


def with_gallery(app: Any, error: Exception | None) -> None:
    """Unpack the gallery, a page of its own that lies here without model-viewer; for ``build-finished``."""
    packed = Path(app.srcdir) / "gallery.html.gz"
    if packed.is_file():
        page, place = gzip.decompress(packed.read_bytes()).decode(), 'id="model-viewer">'
        (Path(app.outdir) / "gallery.html").write_text(page.replace(place, place + model_viewer()), encoding="utf-8")


def without_source_maps(app: Any, error: Exception | None) -> None:
    """Leave out the theme's source maps, which only its own authors read; for ``build-finished``."""
    for path in Path(app.outdir).rglob("*.map"):
        path.unlink()


def without_indents(app: Any, error: Exception | None) -> None:
    """Begin lines at their first mark: the theme's indents and empty lines are a thirtieth of all pages.

    For ``build-finished``, before the gallery comes in.
    """
    for path in Path(app.outdir).rglob("*.html"):
        parts = _KEPT.split(path.read_text(encoding="utf-8"))
        parts[::2] = [re.sub(r"\s*\n\s*", "\n", part) for part in parts[::2]]
        path.write_text("".join(parts), encoding="utf-8")
