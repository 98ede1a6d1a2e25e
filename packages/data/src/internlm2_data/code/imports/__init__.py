"""Which files a file imports (report section 3.1.2, "sorting").

Only imports that mean a file of the same repository count. Python is parsed, other languages are read by regular
expressions. How a name leads to files is each language's own affair:

=============  =====================================================================================
`python`       modules below the roots of imports: packages, ``src/``, the repository itself
`scripts`      JavaScript and TypeScript: relative paths, ``paths`` of tsconfig.json, workspaces
`compiled`     C and C++, Go, Rust, Swift
`dotted`       Java, Kotlin, Scala, C#, PHP, Ruby: names that end as paths do
=============  =====================================================================================
"""

from collections.abc import Callable, Iterable, Mapping

from internlm2_data.code.imports.compiled import c_imports, go_imports, rust_imports, swift_imports
from internlm2_data.code.imports.dotted import csharp_imports, java_imports, php_imports, ruby_imports, scala_imports
from internlm2_data.code.imports.python import python_imports
from internlm2_data.code.imports.scripts import script_imports
from internlm2_data.code.imports.tree import Tree

Finder = Callable[[str, Tree], Iterable[str]]

IMPORTS: Mapping[str, Finder] = {
    "python": python_imports, "jupyter": python_imports, "c": c_imports, "cpp": c_imports, "go": go_imports,
    "rust": rust_imports, "swift": swift_imports, "javascript": script_imports, "typescript": script_imports,
    "vue": script_imports, "svelte": script_imports, "java": java_imports, "kotlin": java_imports,
    "scala": scala_imports, "csharp": csharp_imports, "php": php_imports, "ruby": ruby_imports,
}  # fmt: skip


def imports_of(path: str, language: str, tree: Tree) -> set[str]:
    """Paths of the repository's files that one file imports.

    Args:
        path: Of the file inside the repository, with slashes.
        language: Its language. One without rules imports nothing.
        tree: The repository.
    """
    finder = IMPORTS.get(language)
    return set(finder(path, tree)) - {path} if finder else set()


__all__ = ["IMPORTS", "Tree", "imports_of"]
