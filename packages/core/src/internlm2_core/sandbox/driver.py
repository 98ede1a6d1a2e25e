"""The program behind a `Session`: runs one piece of source after another with the same variables.

It is not trusted itself, since what it runs can change it. All that it can do wrong is to lie about its own output.
"""

import ast
import contextlib
import json
import linecache
import os
import sys
import traceback
from typing import Any


def main() -> None:
    """Run each piece that comes in, and mark its end on both streams."""
    pieces, marks, me = os.fdopen(os.dup(0), "rb"), (os.dup(1), os.dup(2)), os.getpid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, line in enumerate(pieces, 1):
        piece = json.loads(line)
        status = run(piece["source"], f"<turn {number}>", names)
        if os.getpid() != me:  # a child that the piece forked came out here as well
            os._exit(0)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        for descriptor in marks:
            os.write(descriptor, f"{piece['mark']}{status}\n".encode())


def run(source: str, name: str, names: dict[str, Any]) -> str:
    """Run one piece. The value of a last expression is printed, as a notebook does.

    Args:
        source: The piece.
        name: What it is called in a traceback.
        names: The variables.

    Returns:
        A status as `Outcome` has it.
    """
    linecache.cache[name] = (len(source), None, f"{source}\n".splitlines(True), name)
    try:
        body = ast.parse(source, name).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), name, "exec"), names)
        if isinstance(last, ast.Expr):
            sys.displayhook(eval(compile(ast.Expression(last.value), name, "eval"), names))
    except SystemExit as end:
        return "ok" if end.code in (None, 0) else "error"
    except MemoryError:
        traceback.print_exc(limit=-1)
        return "memory"
    except BaseException as error:
        shown = error.__traceback__
        while shown is not None and shown.tb_frame.f_code.co_filename == __file__:
            shown = shown.tb_next
        traceback.print_exception(type(error), error, shown)
        return "error"
    return "ok"


if __name__ == "__main__":
    main()
