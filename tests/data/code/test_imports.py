import pytest
from internlm2_data.code.imports import imports_of


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
            'pkg/b.go pkg/a.go',
            'pkg/a.go',
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
    assert imports_of(path, text, language, dict.fromkeys(files.split())) == set(expected.split())
