"""The lines can be read one at a time: what is conditional stays rare, and what is named says what it is.

And they say why they are so, where Ray, torch, a file system or a paper made them so: comments with their source.
"""

import ast
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

PACKAGE = Path(__file__).parents[1] / "tlsweep"

FUNCTION_LINES = 60
CONDITIONALS_PER_1000_LINES = 19
"""There were 23: where a conditional expression fills a line, an early return shows better which case is which."""

COMMENTS_PER_1000_LINES = 20
"""There were 12: lines with a comment for people, alone or behind code. What a comment must say no test can tell: why
the code is so, with the source (a file of Ray or torch, a manual page, a paper, a measurement), never what it does."""
FOR_TOOLS = re.compile(r"#\s*(type:|noqa|fmt:|isort:|pragma)")

N = TypeVar("N", bound=ast.AST)


def nodes(kind: type[N]) -> Iterator[tuple[str, N]]:
    """Every node of a kind in the program, with its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield path.relative_to(PACKAGE).as_posix(), node


def names(targets: list[ast.expr]) -> set[str]:
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def test_no_conditional_expression_stands_in_another() -> None:
    nested = [
        f"{file}:{outer.lineno}"
        for file, outer in nodes(ast.IfExp)
        if any(isinstance(inner, ast.IfExp) for inner in ast.walk(outer) if inner is not outer)
    ]
    assert nested == []


def test_a_line_has_one_conditional_expression_at_most() -> None:
    found = Counter(f"{file}:{node.lineno}" for file, node in nodes(ast.IfExp))
    assert [line for line, count in found.items() if count > 1] == []


def test_conditional_expressions_stay_rare() -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py"))
    assert 1000 * len(list(nodes(ast.IfExp))) / lines <= CONDITIONALS_PER_1000_LINES


def test_an_assignment_of_several_values_has_two_at_most() -> None:
    crowded = [
        f"{file}:{node.lineno}"
        for file, node in nodes(ast.Assign)
        if isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple) and len(node.value.elts) > 2
    ]
    assert crowded == []


def test_a_function_fits_on_a_screen() -> None:
    lengths = {
        f"{file}: {node.name}": (node.end_lineno or 0) - node.lineno + 1 for file, node in nodes(ast.FunctionDef)
    }
    assert [name for name, lines in lengths.items() if lines > FUNCTION_LINES] == []


def test_a_loop_variable_says_what_it_holds() -> None:
    """`trial`, `member`, `file`: not `one`, which once stood in 201 loops."""
    loops = [(file, node.target) for kind in (ast.For, ast.comprehension) for file, node in nodes(kind)]
    assert [f"{file}:{target.lineno}" for file, target in loops if "one" in names([target])] == []
    functions = [(file, node) for file, node in nodes(ast.Lambda)]
    assert [f"{file}:{node.lineno}" for file, node in functions if "one" in {arg.arg for arg in node.args.args}] == []


def test_comments_say_why_often_enough() -> None:
    comments, lines = 0, 0
    for path in sorted(PACKAGE.rglob("*.py")):
        lines += len(path.read_text(encoding="utf-8").splitlines())
        with tokenize.open(path) as file:
            found = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
        comments += sum(not FOR_TOOLS.match(token.string) for token in found)
    assert 1000 * comments / lines >= COMMENTS_PER_1000_LINES
