import ast
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path

import jinja2
import pytest
import yaml
from internlm2_data.code.imports import Tree, imports_of


@pytest.mark.parametrize(
    ("language", "path", "text", "files", "expected"),
    [
        (
            'python',
            'pkg/a.py',
            'from . import b\nfrom .c import x, y\nimport os',
            'pkg/b.py pkg/c.py pkg/__init__.py',
            'pkg/b.py pkg/c.py',
        ),
        (
            'python',
            'pkg/sub/a.py',
            'from ..c import x',
            'pkg/c.py pkg/sub/c.py',
            'pkg/c.py',
        ),
        (
            'python',
            'main.py',
            'import pkg.c as d, helper',
            'pkg/c.py helper.py',
            'pkg/c.py helper.py',
        ),
        (
            'python',
            'main.py',
            'from pkg import (\n    b,\n    thing,\n)',
            'pkg/__init__.py pkg/b.py',
            'pkg/b.py pkg/__init__.py',
        ),
        (
            'python',
            'main.py',
            'from pkg import b',
            'pkg/__init__.py pkg/b.py',
            'pkg/b.py',
        ),
        (
            'python',
            'main.py',
            "# import b\nx = 'import c'",
            'b.py c.py',
            '',
        ),
        (
            'c',
            'src/a.c',
            '#include "a.h"\n#include <stdio.h>\n# include "util/x.h"',
            'src/a.h src/util/x.h',
            'src/a.h src/util/x.h',
        ),
        (
            'cpp',
            'a.cpp',
            '#include "lib/b.hpp"',
            'include/lib/b.hpp',
            'include/lib/b.hpp',
        ),
        (
            'javascript',
            'src/a.js',
            "import x from './b'\nconst c = require('../c.js')\nimport 'react'",
            'src/b.js c.js',
            'src/b.js c.js',
        ),
        (
            'typescript',
            'a.ts',
            "export * from './lib'",
            'lib/index.ts',
            'lib/index.ts',
        ),
        (
            'java',
            'src/main/java/org/x/A.java',
            'import org.x.B;\nimport java.util.List;',
            'src/main/java/org/x/B.java',
            'src/main/java/org/x/B.java',
        ),
        (
            'go',
            'main.go',
            'import (\n\t"fmt"\n\t"example.com/m/pkg"\n)',
            'pkg/b.go pkg/a.go pkg/a_test.go',
            'pkg/a.go pkg/b.go',
        ),
        (
            'rust',
            'src/main.rs',
            'mod net;\nuse crate::db::pool::Pool;',
            'src/net.rs src/db/mod.rs src/db/pool.rs',
            'src/net.rs src/db/pool.rs',
        ),
        (
            'php',
            'a.php',
            "require_once __DIR__ . '/b.php';",
            'b.php',
            'b.php',
        ),
        ('python', 'src/shop/app.py', 'import shop.model', 'src/shop/__init__.py src/shop/model.py', 'src/shop/model.py'),
        ('python', 'tests/test_a.py', 'from shop import model', 'src/shop/model.py', 'src/shop/model.py'),
        ('python', 'tools/a.py', 'import b', 'tools/b.py b.py', 'tools/b.py'),
        ('python', 'pkg/a.py', 'import b', 'pkg/__init__.py pkg/b.py', ''),
        ('python', 'pkg/a.py', 'import json', 'pkg/__init__.py pkg/json.py', ''),
        ('python', 'a.py', 'import os.path', 'os.py', 'os.py'),
        ('python', 'a.py', 'from p._c import f', 'p/__init__.py', ''),
        ('python', 'x/deep/p/a.py', 'import p.b', 'x/deep/p/__init__.py x/deep/p/b.py', 'x/deep/p/b.py'),
        ('python', 'a.py', 'def f():\n    from b import (c,  # one\n d)', 'b/__init__.py b/c.py', 'b/c.py b/__init__.py'),
        ('python', 'a.py', 'print "two"\nimport b', 'b.py', 'b.py'),
        ('python', 'pkg/a.py', 'from .... import b', 'b.py pkg/b.py', ''),
        ('jupyter', 'a.ipynb', '# T\n\n```python\nimport b\n```', 'b.py', 'b.py'),
        ('c', 'a/x.c', '#include "util.h"\n#include <math.h>', 'b/util.h c/math.h', 'b/util.h'),
        ('cpp', 'a/x.cc', '#include <lib/x.hpp>', 'third/lib/x.hpp', 'third/lib/x.hpp'),
        ('typescript', 'a.ts', "import x from './b.js'", 'b.ts', 'b.ts'),
        ('typescript', 'a.ts', "import type { X } from './b'\nimport './c.css'", 'b.d.ts', 'b.d.ts'),
        ('kotlin', 'app/src/main/kotlin/A.kt', 'import org.x.B', 'core/src/main/kotlin/org/x/B.kt',
         'core/src/main/kotlin/org/x/B.kt'),
        ('java', 'A.java', 'import static org.x.B.help;\nimport org.y.*;', 'org/x/B.java org/y/C.java org/y/D.java',
         'org/x/B.java org/y/C.java org/y/D.java'),
        ('scala', 'A.scala', 'import org.x.{B, C => D}', 'org/x/B.scala org/x/C.scala', 'org/x/B.scala org/x/C.scala'),
        ('rust', 'src/a.rs', 'mod b;\nuse crate::{c, d::{e, f as g}};\nuse super::h::Thing;',
         'src/a/b.rs src/c.rs src/d/e.rs src/d/f.rs src/h.rs', 'src/a/b.rs src/c.rs src/d/e.rs src/d/f.rs src/h.rs'),
        ('php', 'A.php', "use App\\Model\\B;", 'src/Model/B.php', 'src/Model/B.php'),
        ('ruby', 'lib/a.rb', "require_relative 'b/c'\nrequire 'd'", 'lib/b/c.rb lib/d.rb', 'lib/b/c.rb lib/d.rb'),
        ('swift', 'Sources/App/a.swift', 'import Foundation\nimport Kit', 'Sources/Kit/b.swift', 'Sources/Kit/b.swift'),
        (
            'haskell',
            'a.hs',
            'import B',
            'B.hs',
            '',
        ),
    ],
)  # fmt: skip
def test_imports(language, path, text, files, expected):
    tree = Tree({**dict.fromkeys(files.split(), ""), path: text})
    assert imports_of(path, language, tree) == set(expected.split())


def test_names_that_files_of_the_repository_explain():
    files = {
        "go.mod": "module shop/api\n\ngo 1.22\n", "cmd/main.go": 'import (\n\t"fmt"\n\ts "shop/api/store"\n)',
        "store/a.go": "", "fmt/b.go": "",
        "web/tsconfig.json": '{"compilerOptions": {"paths": {"@/*": ["./src/*"],}}, // aliases\n}',
        "web/a.ts": "import x from '@/lib/b'\nimport y from 'kit'", "web/src/lib/b.ts": "",
        "kit/package.json": '{"name": "kit", "main": "start.js"}', "kit/start.js": "",
        "A.cs": "using Shop.Data;\nusing System;\nnamespace Shop { }", "db/B.cs": "namespace Shop.Data;", "C.cs": "class C {}",
    }  # fmt: skip
    tree = Tree(files)
    assert imports_of("cmd/main.go", "go", tree) == {"store/a.go"}
    assert imports_of("web/a.ts", "typescript", tree) == {"web/src/lib/b.ts", "kit/start.js"}
    assert imports_of("A.cs", "csharp", tree) == {"db/B.cs"}


@pytest.mark.parametrize("name", ["shop", "shop-1.2.0", "shop-main"])
def test_a_package_that_is_the_repository(name):
    files = {
        "__init__.py": "",
        "a.py": "import shop.b, json\nfrom shop import c",
        "b.py": "import shop as s",
        "c.py": "",
        "json.py": "",
    }
    assert imports_of("a.py", "python", Tree(files, name)) == {"b.py", "c.py"}
    assert imports_of("b.py", "python", Tree(files, name)) == {"__init__.py"}


def imported(folder, module):
    """The file of a module below a folder, as Python's own machinery finds it. None for what is none."""
    spec, where = None, [str(folder)]
    for end in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:end])
        finders = [FileFinder(place, (SourceFileLoader, [".py"])) for place in where]
        spec = next((found for finder in finders if (found := finder.find_spec(name))), None)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or [])
    return spec.origin


@pytest.mark.parametrize("shape", ["wheel", "src", "package"])
@pytest.mark.parametrize("package", [jinja2, yaml])
def test_edges_of_installed_packages_are_those_of_pythons_own_import_system(package, shape):
    folder = Path(package.__file__).parent
    inside = {"wheel": f"{folder.name}/", "src": f"src/{folder.name}/", "package": ""}[shape]
    paths = {path: inside + path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    tree = Tree({name: path.read_text("utf-8") for path, name in paths.items()}, folder.name)
    edges = 0
    for path, name in paths.items():
        wanted = set()
        own = [folder.name, *path.relative_to(folder).with_suffix("").parts]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {imported(folder.parent, alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = ".".join([*(own[: -node.level] if node.level else []), *([node.module] if node.module else [])])
                for alias in node.names:
                    wanted.add(imported(folder.parent, f"{base}.{alias.name}") or imported(folder.parent, base))
        wanted = {paths[Path(found)] for found in wanted - {None} if Path(found) in paths} - {name}
        assert imports_of(name, "python", tree) == wanted, name
        edges += len(wanted)
    assert edges > 30
