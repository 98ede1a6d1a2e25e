"""Labels by people: a page in the browser for two replies side by side, and what comes of it.

    comparisons ──► Queue (SQLite) ◄──► Desk ◄──► LabelServer ◄──► page/ in a browser
                      │
                      ├─ decided()      ──► preference pairs for `internlm2 reward`
                      ├─ disagreements()──► judged once more
                      └─ figures        ──► agreement, gold questions, sides

================  ================================================================================================
`queue`           comparisons, judgements, what is next. `store` and `rows` hold the SQL, `votes` what counts
`agreement`       Cohen's kappa and Krippendorff's alpha. `figures` puts them together
`rendered`        Markdown and LaTeX as a tree, so that nothing a model writes becomes HTML
`desk`, `server`  what the page is answered, and over HTTP
`files`           pairs and judgements as JSON lines. `label_studio` writes and reads its tasks
================  ================================================================================================
"""

from internlm2_align.people.figures import figures
from internlm2_align.people.files import export, import_judgements
from internlm2_align.people.label_studio import LABELING, import_label_studio
from internlm2_align.people.labelling import is_enough, label_by_people
from internlm2_align.people.queue import Queue
from internlm2_align.people.votes import Said

__all__ = [
    "LABELING",
    "Queue",
    "Said",
    "export",
    "figures",
    "import_judgements",
    "import_label_studio",
    "is_enough",
    "label_by_people",
]
