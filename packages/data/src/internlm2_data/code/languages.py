"""Programming languages by the names of files, and of scripts by their first line."""

import re
from pathlib import PurePosixPath

LANGUAGES = {
    "python": "py pyi pyx pxd pyw", "c": "c h", "cpp": "cc cpp cxx c++ hh hpp hxx h++ cu cuh inl ipp",
    "csharp": "cs csx", "java": "java", "javascript": "js jsx mjs cjs", "typescript": "ts tsx mts cts", "go": "go",
    "rust": "rs", "php": "php phtml", "ruby": "rb rake gemspec", "kotlin": "kt kts", "swift": "swift",
    "scala": "scala sc sbt", "groovy": "groovy gradle", "dart": "dart", "objective-c": "m mm", "r": "r",
    "julia": "jl", "lua": "lua", "perl": "pl pm t", "haskell": "hs lhs", "ocaml": "ml mli", "fsharp": "fs fsi fsx",
    "clojure": "clj cljs cljc edn", "elixir": "ex exs", "erlang": "erl hrl", "fortran": "f for f77 f90 f95 f03 f08",
    "pascal": "pas pp dpr", "ada": "adb ads", "cobol": "cob cbl", "lisp": "lisp lsp el cl", "scheme": "scm ss rkt",
    "prolog": "pro", "nim": "nim", "crystal": "cr", "d": "d di", "elm": "elm", "solidity": "sol", "vyper": "vy",
    "move": "move", "shell": "sh bash zsh ksh fish", "powershell": "ps1 psm1", "batch": "bat cmd", "sql": "sql",
    "html": "html htm xhtml", "css": "css scss sass less", "vue": "vue", "svelte": "svelte", "astro": "astro",
    "assembly": "s asm", "verilog": "v sv svh", "vhdl": "vhd vhdl", "matlab": "matlab", "lean": "lean", "coq": "coq",
    "agda": "agda", "isabelle": "thy", "tla": "tla", "zig": "zig", "glsl": "glsl vert frag comp", "hlsl": "hlsl",
    "wgsl": "wgsl", "protobuf": "proto", "thrift": "thrift", "graphql": "graphql gql", "terraform": "tf tfvars hcl",
    "nix": "nix", "bazel": "bzl bazel", "cmake": "cmake", "makefile": "mk mak", "dockerfile": "dockerfile",
    "jupyter": "ipynb", "toml": "toml", "yaml": "yaml yml", "json": "json jsonc json5", "xml": "xml xsd xsl xslt",
    "ini": "ini cfg conf", "markdown": "md markdown mdx", "rst": "rst", "text": "txt adoc asciidoc org",
    "tex": "tex bib sty",
}  # fmt: skip
BY_ENDING = {ending: language for language, endings in LANGUAGES.items() for ending in endings.split()}
BY_NAME = {
    "makefile": "makefile", "gnumakefile": "makefile", "cmakelists.txt": "cmake", "dockerfile": "dockerfile",
    "containerfile": "dockerfile", "readme": "text", "rakefile": "ruby", "gemfile": "ruby", "build": "bazel",
    "workspace": "bazel", "jenkinsfile": "groovy", "vagrantfile": "ruby", "go.mod": "go.mod",
}  # fmt: skip
DOCUMENTATION = frozenset({"markdown", "rst", "text", "tex"})
DATA = frozenset({"json", "yaml", "toml", "ini", "xml", "go.mod"})
_INTERPRETERS = {
    "python": "python", "bash": "shell", "sh": "shell", "zsh": "shell", "ksh": "shell", "dash": "shell",
    "fish": "shell", "node": "javascript", "deno": "typescript", "ruby": "ruby", "perl": "perl", "php": "php",
    "lua": "lua", "rscript": "r", "julia": "julia", "pwsh": "powershell", "escript": "erlang", "groovy": "groovy",
    "make": "makefile", "awk": "awk",
}  # fmt: skip
_SHEBANG = re.compile(rb"#![ \t]*(?:\S*/)?(?:env[ \t]+(?:-\S+[ \t]+|\w+=\S*[ \t]+)*)?(?:\S*/)?([A-Za-z]+)")


def language_of(path: str) -> str | None:
    """The language of a file by its name, None where that says nothing.

    Args:
        path: Of the file, with slashes.
    """
    name = PurePosixPath(path).name.lower()
    return BY_NAME.get(name) or BY_ENDING.get(name.rsplit(".", 1)[-1] if "." in name else "")


def language_of_script(content: bytes) -> str | None:
    """The language that the first line of a script names, None for anything else.

    Args:
        content: The beginning of the file.
    """
    found = _SHEBANG.match(content)
    return _INTERPRETERS.get(found.group(1).decode().lower()) if found else None
