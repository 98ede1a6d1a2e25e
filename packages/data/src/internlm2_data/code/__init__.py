"""Code: from repositories to one long Markdown document each (report section 3.1.2).

    repository ─► files ─► rules ─► dedup (blind to indentation) ─► quality: high, moderate; low goes
                                                                          │
            Markdown ◄── files in the order of their dependencies ◄───────┘

Dependencies are found by regular expressions, one set a language. A file comes after what it imports, documentation
before the first code file of its folder.
"""

from internlm2_data.code.files import RepositorySieve, find_repositories
from internlm2_data.code.markdown import AssembleSieve
from internlm2_data.code.order import dependency_order
from internlm2_data.code.quality import CodeQuality

__all__ = ["AssembleSieve", "CodeQuality", "RepositorySieve", "dependency_order", "find_repositories"]
