import json
import shutil
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from internlm2_data.code import CodeQuality, Licences, RepositorySieve, find_repositories
from internlm2_data.code.languages import language_of
from internlm2_data.code.licences import licence_of
from internlm2_data.code.markdown import assemble, section
from internlm2_data.document import Document
from internlm2_data.io import Fault, Passed
from internlm2_data.page import Page
from internlm2_data.rules.code_measures import CODE_MEASURES, generated
from internlm2_data.verdict import KEEP, Drop


def file(path, text, language):
    return Document(text, source="code", language=language, type="code", meta={"repository": "r", "path": path})


def test_a_repository_becomes_one_document():
    files = [
        file("main.py", "import lib\n", "python"),
        file("lib.py", "x = 1\n", "python"),
        file("README.md", "# R\n\nText.\n", "markdown"),
    ]
    document = assemble("r", files)
    assert document.text == (
        "# r\n\n## README.md\n\n# R\n\nText.\n\n"
        "## lib.py\n\n```python\nx = 1\n```\n\n## main.py\n\n```python\nimport lib\n```\n"
    )
    assert (document.type, document.language, document.source) == ("repository", "python", "code")
    assert document.meta["files"] == ["README.md", "lib.py", "main.py"]


def test_a_fence_is_longer_than_any_inside():
    assert "````python\ns = '''```\n```'''\n````" in section(file("a.py", "s = '''```\n```'''", "python"))


def test_finding_repositories_and_their_files(tmp_path):
    for name in (
        "one/a.py",
        "one/.git/config",
        "two/pyproject.toml",
        "two/src/b.js",
        "two/node_modules/c.js",
        "two/x.bin",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content of a file\n")
    (tmp_path / "two/big.py").write_bytes(b"x" * (2 << 20))
    (tmp_path / "two/bin.py").write_bytes(b"\0\1\2")
    (tmp_path / "two/gb.py").write_bytes("# 中文注释写在这里，编码是国标。\n".encode("gbk"))
    found = find_repositories([tmp_path])
    assert [p.name for p in found] == ["one", "two"]
    assert find_repositories([tmp_path / "two"]) == [tmp_path / "two"]
    sifted = list(RepositorySieve().sift(found, "files"))
    documents = [x[0] for x in sifted if isinstance(x, tuple)]
    assert [(d.meta["repository"], d.meta["path"], d.language) for d in documents] == [
        ("one", "a.py", "python"),
        ("two", "gb.py", "python"),
        ("two", "pyproject.toml", "toml"),
        ("two", "src/b.js", "javascript"),
    ]
    assert "中文注释" in documents[1].text
    assert len([x for x in sifted if isinstance(x, Fault)]) == 2


FILES = {
    "a.py": "import b\n", "src/b.js": "// code\n", "tool": "#!/usr/bin/env python3\nprint()\n", "data": "1 2 3\n",
    "LICENSE": "MIT License\n\nPermission is hereby granted, free of charge", "x.png": "?", "vendor/c.js": "x\n",
    "build/__init__.py": "# a package of this name\n", ".hidden/d.py": "x\n",
}  # fmt: skip


def as_folder(folder):
    for name, text in FILES.items():
        path = folder / "repo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "repo"


def as_archive(folder, kind):
    top = as_folder(folder)
    return Path(shutil.make_archive(str(folder / "packed" / "repo"), kind, folder, top.name))


def as_bare(folder):
    top = as_folder(folder)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@e", "-C", str(top)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A", "-f"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "all"], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(top), str(folder / "packed" / "repo.git")], check=True)
    return folder / "packed" / "repo.git"


FORMS = {"folder": as_folder, "bare": as_bare} | {
    kind: partial(as_archive, kind=kind) for kind in ("zip", "tar", "gztar", "xztar")
}


@pytest.mark.parametrize("form", FORMS)
def test_repositories_of_every_form(tmp_path, form):
    repository = FORMS[form](tmp_path)
    assert find_repositories([repository]) == find_repositories([repository.parent])[:1] == [repository]
    sifted = list(RepositorySieve().sift([repository], "files"))
    documents = [x[0] for x in sifted if isinstance(x, tuple)]
    assert {(d.meta["repository"], d.meta["path"], d.language, d.meta["licence"]) for d in documents} == {
        ("repo", "a.py", "python", "MIT"), ("repo", "build/__init__.py", "python", "MIT"),
        ("repo", "src/b.js", "javascript", "MIT"), ("repo", "tool", "python", "MIT"),
    }  # fmt: skip
    assert Counter(x.reason for x in sifted if isinstance(x, Passed)) == {
        "file ending in .png": 1, "file in a folder named vendor": 1, "file in a hidden folder": 1,
        "file without an ending": 1, "file of a licence, which is recorded": 1,
    }  # fmt: skip
    assert len(sifted) == len(FILES)


def test_damaged_archives_are_faults(tmp_path):
    for name in ("a.zip", "b.tar.gz", "c.tar"):
        (tmp_path / name).write_bytes(b"this is no archive")
    faults = list(RepositorySieve().sift(find_repositories([tmp_path]), "files"))
    assert len(faults) == 3 and all("cannot be read" in fault.what for fault in faults)


def test_a_folder_is_one_repository_or_many(tmp_path):
    for name in ("plain/a.py", "plain/sub/b.py", "owner/one/.git/config", "owner/one/a.py", "owner/two/setup.py",
                 "notes/README.md", "notes/pkg/a.py", "set/README.md", "set/one/go.mod"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    found = [path.relative_to(tmp_path).as_posix() for path in find_repositories([tmp_path])]
    assert found == ["notes", "owner/one", "owner/two", "plain", "set/one"]


def read(tmp_path, name, data):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / name).write_bytes(data)
    (found,) = RepositorySieve().sift([tmp_path / "r"], "files")
    return found


def test_a_notebook_is_its_cells_without_outputs(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Rain\n", "How much?"]},
        {"cell_type": "code", "source": "total = 1", "outputs": [{"data": {"image/png": "iVBOR"}}]},
        {"cell_type": "raw", "source": "skip"},
    ]
    document, _ = read(tmp_path, "a.ipynb", json.dumps({"cells": cells, "nbformat": 4}).encode())
    assert document.text == "# Rain\nHow much?\n\n```python\ntotal = 1\n```\n"
    assert "## a.ipynb\n\n# Rain" in section(document)


@pytest.mark.parametrize("data", [b"{}", b"[1]", b"not JSON", b'{"cells": 5}', b'{"cells": [{"source": "x"}]}'])
def test_what_is_no_notebook_is_a_fault(tmp_path, data):
    assert "This is not a notebook" in read(tmp_path, "a.ipynb", data).what


def test_encodings_of_code(tmp_path):
    declared = "# -*- coding: cp1251 -*-\n# Привет\n"
    for number, (name, data, text) in enumerate([
        ("a.cs", "// Форма\n".encode("utf-16"), "// Форма\n"), ("b.py", declared.encode("cp1251"), declared),
    ]):  # fmt: skip
        (tmp_path / str(number)).mkdir()
        assert read(tmp_path / str(number), name, data)[0].text == text


@pytest.mark.parametrize(("files", "licence"), [
    ({"LICENSE": "Apache License\nVersion 2.0, January 2004"}, "Apache-2.0"),
    ({"COPYING": "GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007"}, "GPL-3.0"),
    ({"LICENSE-MIT": "MIT License", "LICENSE-APACHE": "Apache License\nVersion 2.0"}, "Apache-2.0 OR MIT"),
    ({"package.json": '{"license": "ISC"}'}, "ISC"), ({"pyproject.toml": 'license = {text = "MIT"}\n'}, "MIT"),
    ({"LICENSE": "ask us first"}, "unknown"), ({}, "unknown"), ({"sub/LICENSE": "MIT License"}, "unknown"),
])  # fmt: skip
def test_licences(files, licence):
    assert licence_of(files) == licence


def test_only_some_licences():
    def page(licence):
        return Page(Document("x = 1", type="code", meta={"licence": licence}))

    verdicts = Licences(["MIT", "ISC"]).judge([page("MIT"), page("GPL-3.0"), page("GPL-3.0 OR ISC"), page("unknown")])
    assert [verdict is KEEP for verdict in verdicts] == [True, False, True, False]
    assert (verdicts[1].rule, verdicts[1].value) == ("code.licence", "GPL-3.0")


@pytest.mark.parametrize(("line", "is_generated"), [
    ("# Generated by the protocol buffer compiler.  DO NOT EDIT!", 1), ("// Code generated by stringer; DO NOT EDIT.", 1),
    ("/* This file was automatically generated by SWIG */", 1), ("# @generated", 1), ("<!-- auto-generated -->", 1),
    ('"""Read the tables that are generated by coverage and print them."""', 0), ("# Random numbers, generated with care", 0),
])  # fmt: skip
def test_marks_of_generated_files(line, is_generated):
    assert generated(Page(Document(line + "\nx = 1\n", type="code"))) == is_generated


def test_drawings_in_comments_are_no_noise():
    text = "# input ──► read ──► write\n#              └──► faults\nx = 1\n"
    page = Page(Document(text, type="code", language="python"))
    assert CODE_MEASURES["code.abnormal"](page) == 0
    assert CODE_MEASURES["code.abnormal"](Page(Document(text + "\x00\x01\ufffd" * 9))) > 0.1


def test_inputs_that_hold_nothing(tmp_path):
    with pytest.raises(ValueError, match="hold no repository"):
        find_repositories([tmp_path])
    with pytest.raises(FileNotFoundError, match="is not a folder of repositories or an archive"):
        find_repositories([tmp_path / "nowhere"])


def test_languages():
    assert [language_of(n) for n in ("a/b.PY", "Makefile", "x.tar", "CMakeLists.txt", "noending")] == [
        "python", "makefile", None, "cmake", None,
    ]  # fmt: skip


def test_classes_of_quality():
    good = '"""Adds numbers."""\n\ndef add(first, second):\n    # The sum of both.\n    return first + second\n'
    plain = "".join(f"value_{i} = compute(source_{i}, target_{i})\n" for i in range(30))
    data = "x = [\n" + "1, 2, 3, 0x4, 5,\n" * 50 + "]\n"
    verdicts = CodeQuality().judge([Page(file("a.py", text, "python")) for text in (good, plain, data)])
    assert [v.rule for v in verdicts] == ["code.quality_high", "code.quality_high", "code.quality_low"] or [
        v.rule for v in verdicts
    ] == ["code.quality_high", "code.quality_moderate", "code.quality_low"]
    assert isinstance(verdicts[2], Drop)
