"""One dialect in every package: what of docs/style.md a program can check."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {
    **{path.parent.name: path for path in sorted(ROOT.glob("packages/*/src"))},
    "conf": ROOT / "conf",
}
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):\s*$")
ENTRY = re.compile(r"^ {4}(\*{0,2}[\w.`]+)(?: \([^)]*\))?: (.*)$")
BANNED = re.compile(
    r"(?<!there )\bis no (?!longer|more|less)|\bare no (?:folders?|files?|records?|models?) but|\bgoes on\b|\bgo on\b|\bgoing on\b|"
    r"\btaken? apart\b|\bgo(?:es)? unheard\b|\bis none of\b|\bstands?\b(?! out| for| in for| alone)|:(?:class|func|meth|mod|attr):`",
    re.I,
)
SEMICOLONS_PER_1000_WORDS = 2.0


def modules(room: str) -> Iterator[tuple[Path, ast.Module, str]]:
    for file in sorted(ROOMS[room].rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        yield file.relative_to(ROOT), ast.parse(text), text


def documented(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield node, text


def entries(docstring: str) -> dict[str, dict[str, str]]:
    """Section -> name -> text of its entry."""
    found: dict[str, dict[str, str]] = {}
    section = name = None
    for line in docstring.splitlines():
        if match := SECTION.match(line):
            section, name = match[1], None
            found[section] = {}
        elif section and (match := ENTRY.match(line)) and section != "Returns":
            name = match[1].strip("*`")
            found[section][name] = match[2]
        elif section and line.startswith("    ") and line.strip():
            key = name or ""
            found[section][key] = f"{found[section].get(key, '')} {line.strip()}".strip()
        elif line.strip():
            section = None
    return found


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument for argument in every if argument.arg not in ("self", "cls") and not argument.arg.startswith("_")]


def public_functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str | None]]:
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node, ast.get_docstring(node)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    yield part, ast.get_docstring(node)


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_describe_their_parameters(room):
    wrong = []
    for file, tree, _ in modules(room):
        for function, docstring in public_functions(tree):
            asked = parameters(function)
            if len(asked) < 2 and function.name != "__init__":
                continue
            said = entries(docstring or "")
            described = {**said.get("Args", {}), **said.get("Attributes", {})}
            lacking = [argument.arg for argument in asked if argument.arg not in described]
            if lacking:
                wrong.append(f"{file}:{function.lineno} {function.name}: {', '.join(lacking)}")
    assert not wrong, f"{len(wrong)} without a description in Args:\n" + "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_tensors_have_shapes(room):
    wrong = []
    for file, tree, _ in modules(room):
        for function, docstring in public_functions(tree):
            described = {**entries(docstring or "").get("Args", {}), **entries(docstring or "").get("Attributes", {})}
            for argument in parameters(function):
                annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                text = described.get(argument.arg, "[")
                if re.fullmatch(r"(torch\.)?Tensor( \| None)?", annotation) and not re.search(r"\[|scalar", text, re.I):
                    wrong.append(f"{file}:{function.lineno} {function.name}({argument.arg}): {text}")
    assert not wrong, f"{len(wrong)} tensors without a shape:\n" + "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_entries_of_docstrings_are_sentences(room):
    wrong = []
    for file, tree, _ in modules(room):
        for node, docstring in documented(tree):
            for section, named in entries(docstring).items():
                for name, text in named.items():
                    line = f"{file}:{getattr(node, 'lineno', 1)} {section} {name}: {text}"
                    if section == "Raises":
                        if not text.startswith("If "):
                            wrong.append(line)
                    elif not text or text[0].islower() or not text.rstrip('`")').endswith((".", ":")):
                        wrong.append(line)
    assert not wrong, f"{len(wrong)} entries:\n" + "\n".join(wrong)


def spoken(room: str) -> Iterator[tuple[str, str]]:
    """Place and text of every docstring, comment and message of an exception, and of the room's pages."""
    for file, tree, text in modules(room):
        for node, docstring in documented(tree):
            yield (
                f"{file}:{getattr(node, 'lineno', 1)}",
                re.sub(r"``[^`]*``|`[^`\n]*`|^ {4,}.*\{.*$", "", docstring, flags=re.M),
            )
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield f"{file}:{token.start[0]}", token.string
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for part in ast.walk(node.exc):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield f"{file}:{node.lineno}", part.value
    for file in sorted(ROOMS[room].rglob("*.yaml")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if "#" in line:
                yield f"{file.relative_to(ROOT)}:{number}", line.partition("#")[2]
    folder = ROOMS[room] if room == "conf" else ROOMS[room].parent
    for file in sorted(folder.rglob("*.md")):
        plain = re.sub(r"```.*?```|`[^`\n]*`", "", file.read_text(encoding="utf-8"), flags=re.S)
        for number, line in enumerate(plain.splitlines(), 1):
            yield f"{file.relative_to(ROOT)}:{number}", line


@pytest.mark.parametrize("room", ROOMS)
def test_words(room):
    wrong = [f"{place}: {text.strip()[:160]}" for place, text in spoken(room) if BANNED.search(text)]
    assert not wrong, f"{len(wrong)} places:\n" + "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_few_semicolons(room):
    texts = list(spoken(room))
    words = sum(len(re.findall(r"\w+", text)) for _, text in texts)
    places = [f"{place}: {text.strip()[:160]}" for place, text in texts if re.search(r"\w;(\s|$)", text)]
    count = sum(len(re.findall(r"\w;(?:\s|$)", text)) for _, text in texts)
    rate = 1000 * count / max(1, words)
    assert rate < SEMICOLONS_PER_1000_WORDS, f"{rate:.1f} semicolons in 1,000 words:\n" + "\n".join(places)


@pytest.mark.parametrize("room", ROOMS)
def test_errors_end_with_a_full_stop(room):
    """Library errors name arguments. Only the command knows keys."""
    wrong = []
    for file, tree, _ in modules(room):
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                continue
            if ast.unparse(node.exc.func) not in ("ValueError", "FileNotFoundError", "RuntimeError", "TypeError"):
                continue
            message = node.exc.args[0]
            parts = [
                part.value
                for part in ast.walk(message)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            text = "".join(parts)
            tail = message.values[-1] if isinstance(message, ast.JoinedStr) else message
            if (
                isinstance(tail, ast.Constant)
                and isinstance(tail.value, str)
                and not tail.value.rstrip().endswith((".", ".)"))
            ):
                wrong.append(f"{file}:{node.lineno}: {text[-80:]!r} does not end with a full stop")
            if room != "conf" and re.search(
                r"\bset [\w.]+(?:\.[\w.]+)?=|\bset (?:model|module|strategy|trainer|callbacks|layout|batches)\.", text
            ):
                wrong.append(f"{file}:{node.lineno}: {text[-80:]!r} names a key of the command")
    assert not wrong, f"{len(wrong)} errors:\n" + "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_sizes(room):
    """Functions of at most 61 lines, files of at most 300."""
    wrong = []
    for file, tree, text in modules(room):
        if len(text.splitlines()) > 300:
            wrong.append(f"{file} has {len(text.splitlines())} lines")
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno + 1 > 61:
                wrong.append(f"{file}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines")
    assert not wrong, "\n".join(wrong)
