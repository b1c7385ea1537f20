"""Which deliberate mistakes there are in the functions' Python code.

The operators are mutmut's. mutmut itself mutates no decorated function and nothing at module level, which here are
the four handlers, every property, the settings and the SQL; so its operators are applied to whole modules instead.

Left out, by rule:

- the wording of texts for people: docstrings, what is logged, the messages of exceptions, and any other string of
  three words or more;
- what only a type checker reads: annotations (but for the bounds in them), type variables, imports for typing;
- None in place of an assigned value or of a call's only argument: the next line crashes, whatever is tested;
- `zip(…, strict=True)`, which asserts what holds by construction;
- spelling variants of the same mistake: a string is changed once, an argument is dropped if it has a keyword and
  replaced by None if not;
- what was asked of Redis, which `ask` only logs;
- a number of 10 or more, or of seconds at module level, becomes ten times as large, since a second more
  or less is rarely a mistake.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

_TYPING = {"TypeVar", "cast"}
_LOGGING = {"info", "warning"}
_REPLACED = {"operator_number", "operator_arg_removal", "operator_assignment"}
_SHOWN = 45
_PROSE_SPACES = 2


@dataclass(frozen=True)
class Edit:
    """One mistake.

    Attributes:
        path: the file.
        name: which mistake it is: module, function and what is changed. Independent of line numbers.
        lines: first and last line of what is changed.
        function: qualified name of the function or class around it, '' at module level.
        make: gives the text of the mutated file; takes some milliseconds.
    """

    path: Path
    name: str
    lines: tuple[int, int]
    function: str
    make: Callable[[], str]


def edits(path: Path, root: Path) -> list[Edit]:
    """Return every mistake that can be made in one file of ``root``, in the order of the file."""
    wrapper = MetadataWrapper(cst.parse_module(path.read_text()))
    finder = _Finder()
    wrapper.visit(finder)
    module, found, seen = wrapper.module, [], dict[str, int]()
    for function, lines, before, after in finder.found:
        name = f"{path.relative_to(root)} {function}: {describe(_code(module, before), _code(module, after))}"
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
        found.append(Edit(path, name, lines, function, partial(_apply, module, before, after)))
    return found


def _apply(module: cst.Module, before: cst.CSTNode, after: cst.CSTNode) -> str:
    mutated = module.deep_replace(before, after)
    assert isinstance(mutated, cst.Module)
    return mutated.code


def describe(before: str, after: str) -> str:
    """Show where two texts differ, with a little of what is around it."""
    before, after = (" ".join(text.split()) for text in (before, after))
    start = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    most = min(len(before), len(after)) - start
    end = next((i for i in range(most) if before[-1 - i] != after[-1 - i]), most)
    start, end = max(0, start - _SHOWN), max(0, end - _SHOWN // 2)
    return f"{before[start : len(before) - end]} => {after[start : len(after) - end]}"


def _code(module: cst.Module, node: cst.CSTNode) -> str:
    return "nothing" if isinstance(node, cst.RemovalSentinel) else module.code_for_node(node)


Found = tuple[str, tuple[int, int], cst.CSTNode, cst.CSTNode]


class _Finder(cst.CSTVisitor):
    """Collects function, lines, original node and mutated node."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []
        self._inside: list[str] = []
        self._in_annotation = self._in_raise = 0
        self._in_seconds = False

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _left_out(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._inside.append(node.name.value)
        if isinstance(node, cst.Assign) and not self._inside:
            self._in_seconds = _module_name(node).endswith("_S")
        self._in_annotation += isinstance(node, cst.Annotation)
        self._in_raise += isinstance(node, cst.Raise)
        position = self.get_metadata(PositionProvider, node, None)
        if position is not None:
            lines = (position.start.line, position.end.line)
            for mutated in self._mutations(node):
                self.found.append((".".join(self._inside), lines, node, mutated))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if _left_out(original_node):
            return
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._inside.pop()
        self._in_seconds &= not isinstance(original_node, cst.Assign)
        self._in_annotation -= isinstance(original_node, cst.Annotation)
        self._in_raise -= isinstance(original_node, cst.Raise)

    def _mutations(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        if self._in_annotation:
            if self._in_annotation and isinstance(node, cst.Integer):
                yield from _number(node)
            return
        if isinstance(node, cst.SimpleString) and (self._in_raise or node.value.count(" ") >= _PROSE_SPACES):
            return
        yield from _own(node)
        if isinstance(node, cst.Integer | cst.Float):
            yield from _number(node, large=self._in_seconds)
        elif isinstance(node, cst.Call):
            yield from _argument(node)
        for kind, operator in mutation_operators:
            if operator.__name__ in _REPLACED or not isinstance(node, kind):
                continue
            mutated = list(operator(node))
            yield from mutated[:1] if operator.__name__ == "operator_string" else mutated


def _module_name(node: cst.Assign) -> str:
    target = node.targets[0].target
    return target.value if isinstance(target, cst.Name) else ""


def _left_out(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Import | cst.ImportFrom | cst.Decorator):
        return True
    if isinstance(node, cst.Arg):
        return node.keyword is not None and node.keyword.value == "strict"
    if isinstance(node, cst.If):
        return isinstance(node.test, cst.Name) and node.test.value == "TYPE_CHECKING"
    if isinstance(node, cst.Expr):  # docstrings
        return isinstance(node.value, cst.SimpleString | cst.ConcatenatedString)
    if isinstance(node, cst.Assign):
        return _module_name(node) in ("T", "__all__")
    if isinstance(node, cst.Call):
        called = node.func
        if isinstance(called, cst.Name):
            return called.value in _TYPING
        if isinstance(called, cst.Attribute) and isinstance(called.value, cst.Name):
            return called.value.value == "log" and called.attr.value in _LOGGING
    return False


def _number(node: cst.Integer | cst.Float, *, large: bool = False) -> Iterator[cst.CSTNode]:
    value = node.evaluated_value
    yield node.with_changes(value=repr(value * 10 if value >= 10 or (large and value) else value + 1))


def _argument(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Drop an argument that has a keyword; replace another one by None."""
    shown = isinstance(node.func, cst.Attribute) and node.func.attr.value in ("ask", "_send")
    for index, argument in enumerate(node.args):
        if shown and index == 0:
            continue
        rest = [*node.args[:index], *node.args[index + 1 :]]
        if argument.keyword is not None or argument.star:
            if not _left_out(argument):
                yield node.with_changes(args=rest)
        elif len(node.args) > 1 and not (
            isinstance(argument.value, cst.Name) and argument.value.value == "None"
        ):
            none = argument.with_changes(value=cst.Name("None"))
            yield node.with_changes(args=[*node.args[:index], none, *node.args[index + 1 :]])


_COMPARED = cst.Comparison | cst.BooleanOperation | cst.UnaryOperation


def _own(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Mistakes that mutmut has no operator for."""
    if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1:
        (statement,) = node.body
        if (
            isinstance(statement, cst.Expr)
            and isinstance(statement.value, cst.Call)
            and not _left_out(statement.value)
        ):
            yield node.with_changes(body=[cst.Pass()])
    elif isinstance(node, cst.If | cst.IfExp | cst.CompIf) and not isinstance(node.test, _COMPARED):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        if not isinstance(node.test, cst.NamedExpr):
            yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))
    if isinstance(node, cst.CompFor) and node.ifs:
        for index in range(len(node.ifs)):
            yield node.with_changes(ifs=[*node.ifs[:index], *node.ifs[index + 1 :]])
    if isinstance(node, cst.ExceptHandler) and isinstance(node.type, cst.Tuple):
        yield from _fewer_errors(node, node.type.elements)


def _fewer_errors(node: cst.ExceptHandler, caught: Sequence[cst.BaseElement]) -> Iterable[cst.CSTNode]:
    for index in range(len(caught)):
        rest = [*caught[:index], *caught[index + 1 :]]
        if len(rest) == 1:
            yield node.with_changes(type=rest[0].value)
        else:
            yield node.with_changes(type=cst.Tuple(rest, lpar=[cst.LeftParen()], rpar=[cst.RightParen()]))
