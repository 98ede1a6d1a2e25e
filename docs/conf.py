"""The site: ``make docs``.

The source folder is the repository itself, so that a page of a package is read where it lies, and a relative link
between two pages means the same in the repository and on the site.
"""

import importlib
import importlib.util
from collections.abc import Iterator
from inspect import isroutine
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import mock

ROOT = Path(__file__).parents[1]

project = "internlm2"
author = "the internlm2 contributors"
copyright = "the internlm2 contributors. Not affiliated with the InternLM team"
version = release = "0.1"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "packages/*/README.md",
    "packages/*/docs/*.md",
    "packages/*/CHANGELOG.md",
    "conf/README.md",
    "conf/CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = [".*", "build", "runs", "multirun", "outputs", "tests", "**/src", "**/__pycache__", "**/*.egg-info"]
source_suffix = {".md": "markdown"}

default_role = "py:obj"
nitpicky = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]

# Signatures carry the types. Docstrings are in Google's style.
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88
HEAVY = ("flash_attn", "vllm", "liger_kernel", "daft", "sentencepiece", "snownlp")
autodoc_mock_imports = [name for name in HEAVY if importlib.util.find_spec(name) is None]

html_theme = "furo"
html_title = "internlm2"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_additional_pages = {"index": "moved.html"}
templates_path = ["templates"]
copybutton_exclude = ".linenos, .gp, .go"

# The reference lists what a package exports, and these modules of pure functions.
FUNCTIONS = ("losses", "optim", "advantages", "rewards")
NOT_LISTED = ("miniature", "machine", "written")  # they serve the miniature alone


def modules(package: str) -> Iterator[str]:
    """Dotted names of the modules of a package that the reference shows, the package itself first."""
    source = ROOT / "packages" / package / "src"
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        if file.stem == "__init__" and "__all__" in file.read_text(encoding="utf-8"):
            parts = parts[:-1]
        elif file.stem not in FUNCTIONS:
            continue
        if not set(parts) & set(NOT_LISTED):
            yield ".".join(parts)


def public_names(module: object) -> list[str]:
    """What a module exports, or the functions and classes that it defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__)
    return [name for name in own if not name.startswith("_")]


def add_reference(app: Sphinx, page: str, source: list[str]) -> None:
    """Append one section for each module to the page ``docs/reference/PACKAGE``. Each object is shown once."""
    folder, _, package = page.rpartition("/")
    if folder != "docs/reference":
        return
    seen: set[tuple[str, str]] = set()
    for name in modules(package):
        with mock(autodoc_mock_imports):
            module = importlib.import_module(name)
            values = {member: getattr(module, member) for member in public_names(module)}
        objects = {member: value for member, value in values.items() if isinstance(value, type) or isroutine(value)}
        homes = {member: (getattr(value, "__module__", name), member) for member, value in objects.items()}
        text = [f"## {name}", "```{eval-rst}", f".. automodule:: {name}", ""]
        for member, value in objects.items():
            if homes[member] not in seen:
                # One directive each: names that a package imports lazily are not in its dictionary.
                kind = "autoclass" if isinstance(value, type) else "autofunction"
                text += [f".. {kind}:: {name}.{member}", *(["   :members:"] if kind == "autoclass" else []), ""]
        seen.update(homes.values())
        if len(text) > 4:
            source[0] += "\n" + "\n".join([*text, "```"]) + "\n"


def first_paragraph(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Keep the first paragraph of a module's docstring. The rest is a map for readers of the source."""
    if what == "module" and "" in lines:
        lines[:] = lines[: lines.index("")]


def setup(app: Sphinx) -> None:
    """Connect the two hooks."""
    app.connect("source-read", add_reference)
    app.connect("autodoc-process-docstring", first_paragraph)
