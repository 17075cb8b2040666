"""The HTML documentation: written pages lie here, `pages` makes the others from what is installed when it is built."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from pages import generate
from pages.html import (
    PlainTranslator,
    own_branch,
    visit_formula,
    visit_formula_block,
    with_gallery,
    without_indents,
    without_source_maps,
)
from pages.reference import as_google, bare_classes, tidied
from sphinx.domains.python import PythonDomain

from tunemv3d_core import __version__

project = "TuneMV3D"
author = "the TuneMV3D authors"
release = __version__
language = "en"
smartquotes = False
highlight_language = "text"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# A study's report is included by the page about it.
exclude_patterns = ["_build", "pages", "pictures", "studies/*/*.md"]

myst_enable_extensions = ["deflist", "dollarmath"]
# GitHub and we read ```math alike.
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3
default_role = "code"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Packages of extras that are not among the versions of the tests.
autodoc_mock_imports = ["gradio"]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 160
toc_object_entries_show_parents = "hide"
add_module_names = False

html_theme = "furo"
html_title = "TuneMV3D"
html_static_path = ["_static/site.css", "_static/site.js"]  # pictures come in with the pages that show them
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_use_index = False
html_domain_indices = False
html_math_renderer = "mathml"
templates_path = ["_templates"]


class WholeNames(PythonDomain):
    """Python's names, of which a bare one (``bytes``, ``name``) never means an attribute of whatever class has it."""

    def find_obj(self, env: Any, modname: Any, classname: Any, name: str, *rest: Any) -> list[tuple[str, Any]]:
        """Find what Sphinx finds, without those attributes."""
        found = super().find_obj(env, modname, classname, name, *rest)
        return [(full, entry) for full, entry in found if "." in name or entry.objtype != "attribute"]


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx reads any."""
    generate(HERE / "generated")
    app.set_translator("html", PlainTranslator)
    app.add_html_math_renderer("mathml", (visit_formula, None), (visit_formula_block, None))
    app.add_domain(WholeNames, override=True)
    app.connect("autodoc-process-docstring", as_google)
    app.connect("autodoc-process-signature", bare_classes)
    app.connect("doctree-read", tidied)
    app.connect("html-page-context", own_branch, priority=400)
    app.connect("build-finished", without_indents)
    app.connect("build-finished", with_gallery)
    app.connect("build-finished", without_source_maps)
