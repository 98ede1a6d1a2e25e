"""Programming languages by the endings of file names."""

from pathlib import PurePosixPath

LANGUAGES = {
    "python": "py pyi pyx", "c": "c h", "cpp": "cc cpp cxx hh hpp hxx cu cuh", "csharp": "cs", "java": "java",
    "javascript": "js jsx mjs cjs", "typescript": "ts tsx", "go": "go", "rust": "rs", "php": "php", "ruby": "rb",
    "kotlin": "kt kts", "swift": "swift", "scala": "scala", "r": "r", "julia": "jl", "lua": "lua", "perl": "pl pm",
    "haskell": "hs", "ocaml": "ml mli", "clojure": "clj", "elixir": "ex exs", "erlang": "erl", "fortran": "f90 f95 f03",
    "shell": "sh bash", "powershell": "ps1", "sql": "sql", "html": "html htm", "css": "css scss", "vue": "vue",
    "assembly": "s asm", "verilog": "v sv", "vhdl": "vhd vhdl", "matlab": "m", "lean": "lean", "zig": "zig",
    "cmake": "cmake", "makefile": "mk", "toml": "toml", "yaml": "yaml yml", "json": "json", "ini": "ini cfg",
    "markdown": "md", "rst": "rst", "text": "txt", "tex": "tex",
}  # fmt: skip
BY_ENDING = {ending: language for language, endings in LANGUAGES.items() for ending in endings.split()}
BY_NAME = {"Makefile": "makefile", "CMakeLists.txt": "cmake", "Dockerfile": "dockerfile", "README": "text"}
DOCUMENTATION = frozenset({"markdown", "rst", "text", "tex"})
DATA = frozenset({"json", "yaml", "toml", "ini"})


def language_of(path: str) -> str | None:
    """The language of a file, None where it is not known."""
    name = PurePosixPath(path).name
    return BY_NAME.get(name) or BY_ENDING.get(name.rsplit(".", 1)[-1].lower() if "." in name else "")
