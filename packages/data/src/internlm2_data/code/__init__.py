"""Code: from repositories to one long Markdown document each (report section 3.1.2).

    repository ─► files ─► rules ─► dedup (blind to indentation) ─► quality: high, moderate; low goes
                                                                          │
            Markdown ◄── files in the order of their dependencies ◄───────┘

A file comes after what it imports (`imports` finds that), files that need each other follow each other, documentation
comes before the first code file of its folder. The licence of a repository is recorded with each of its files.
"""

from internlm2_data.code.files import RepositorySieve
from internlm2_data.code.licences import Licences
from internlm2_data.code.markdown import AssembleSieve
from internlm2_data.code.order import dependency_order
from internlm2_data.code.quality import CodeQuality
from internlm2_data.code.repositories import find_repositories
from internlm2_data.code.scorer import LearnedQuality, learned_quality

__all__ = [
    "AssembleSieve",
    "CodeQuality",
    "LearnedQuality",
    "Licences",
    "RepositorySieve",
    "dependency_order",
    "find_repositories",
    "learned_quality",
]
