"""The page "How to add a format of files" does what it says."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "packages/records/docs/add-a-format.md"


def test_the_code_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    exec(block, {"__name__": "page"})
    assert capsys.readouterr().out == (
        "chats.csv, row 1 [{'role': 'user', 'content': '1+1?'}, {'role': 'assistant', 'content': '2'}]\n"
    )
