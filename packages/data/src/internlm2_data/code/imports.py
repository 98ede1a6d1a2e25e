"""Which files a file imports, by regular expressions (report section 3.1.2, "sorting").

Only imports that mean a file of the same repository count. Where one line imports a whole package (`__init__.py`),
the name that it takes from it decides: if the package holds a module of that name, that is the dependency and
not the package.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

_PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)|import[ \t]+([^\n#;]+))", re.MULTILINE
)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">]', re.MULTILINE)
_SCRIPT = re.compile(r"(?:from|import|require\(|import\()\s*['\"]([^'\"\n]+)['\"]")
_JAVA = re.compile(r"^\s*import\s+(?:static\s+)?([\w.]+)", re.MULTILINE)
_GO = re.compile(r'^\s*(?:import\s+)?(?:[\w.]+\s+)?"([\w./-]+)"\s*$', re.MULTILINE)
_RUST = re.compile(r"^\s*(?:pub\s+)?(?:mod\s+(\w+)\s*;|use\s+(?:crate|super|self)::([\w:]+))", re.MULTILINE)
_PHP = re.compile(r"(?:require|include)(?:_once)?[\s(]+(?:__DIR__\s*\.\s*)?['\"]/?([^'\"]+)['\"]")

Names = Iterator[list[str]]


def _python(path: str, text: str) -> Names:
    folder = PurePosixPath(path).parent
    for module, names, plain in _PYTHON.findall(text):
        if plain:
            for name in plain.split(","):
                yield _python_files("", name.split(" as ")[0].strip(), folder)
            continue
        for name in names.strip("() \n").split(","):
            name = name.split(" as ")[0].strip()
            dots = len(module) - len(module.lstrip("."))
            package = module.lstrip(".")
            base = folder
            for _ in range(dots - 1):
                base = base.parent
            start = base.as_posix() if dots else ""
            taken = f"{package}.{name}" if package else name
            yield _python_files(start, taken, folder) + (_python_files(start, package, folder) if package else [])


def _python_files(start: str, module: str, folder: PurePosixPath) -> list[str]:
    inside = module.replace(".", "/")
    roots = [start] if start and start != "." else ["", folder.as_posix()]
    return [
        str(PurePosixPath(root) / (inside + ending))
        for root in roots
        for ending in (".py", "/__init__.py", ".pyi", ".pyx")
    ]


def _included(path: str, text: str) -> Names:
    folder = PurePosixPath(path).parent
    for name in _INCLUDE.findall(text):
        yield [str(folder / name), name, f"include/{name}", f"src/{name}"]


def _scripted(path: str, text: str) -> Names:
    folder = PurePosixPath(path).parent
    endings = ("", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".vue", "/index.ts", "/index.js", "/index.tsx")
    for name in _SCRIPT.findall(text):
        if name.startswith("."):
            yield [str(folder / (name + ending)) for ending in endings]


def _dotted(path: str, text: str) -> Names:
    for name in _JAVA.findall(text):
        inside = name.replace(".", "/")
        yield [
            f"{root}{inside}{ending}"
            for root in ("", "src/main/java/", "src/")
            for ending in (".java", ".kt", ".scala")
        ]


def _go(path: str, text: str) -> Names:
    # A Go import means a folder; `resolve` takes its first file.
    for name in _GO.findall(text):
        parts = name.split("/")
        yield ["/".join(parts[start:]) + "/" for start in range(len(parts))]


def _rust(path: str, text: str) -> Names:
    folder = PurePosixPath(path).parent
    for module, used in _RUST.findall(text):
        parts = (module or used).split("::")
        insides = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
        yield [
            name
            for inside in insides
            for name in (
                str(folder / f"{inside}.rs"),
                str(folder / inside / "mod.rs"),
                f"src/{inside}.rs",
                f"src/{inside}/mod.rs",
            )
        ]


def _php(path: str, text: str) -> Names:
    folder = PurePosixPath(path).parent
    for name in _PHP.findall(text):
        yield [str(folder / name), name]


IMPORTS: Mapping[str, Callable[[str, str], Names]] = {
    "python": _python, "c": _included, "cpp": _included, "javascript": _scripted, "typescript": _scripted,
    "vue": _scripted, "java": _dotted, "kotlin": _dotted, "scala": _dotted, "go": _go, "rust": _rust, "php": _php,
}  # fmt: skip


def imports_of(path: str, text: str, language: str, files: Mapping[str, object]) -> set[str]:
    """Paths of the repository's files that one file imports.

    Args:
        path: Of the file inside the repository, with slashes.
        text: Its content.
        language: Its language. One without rules imports nothing.
        files: The repository's paths.
    """
    finder = IMPORTS.get(language)
    found = {_resolve(names, files) for names in finder(path, text)} if finder else set()
    return {name for name in found if name is not None and name != path}


def _resolve(names: list[str], files: Mapping[str, object]) -> str | None:
    for name in names:
        normal = _normal(name)
        if name.endswith("/"):
            inside = sorted(f for f in files if f.startswith(normal + "/") and "/" not in f[len(normal) + 1 :])
            if inside and normal:
                return inside[0]
        elif normal in files:
            return normal
    return None


def _normal(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
