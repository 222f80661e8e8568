"""A fingerprint of the code behind the classes of one's own that a config names.

The result of a run depends on that code, so the fingerprint is a part of the run's id: an edited class is another run.
It covers the class and all that it uses of the trusted packages, in its own module or another: base classes, functions,
constants. Comments, docstrings and layout do not count.

What cannot be seen in the source is not covered: a name that is looked up as text (`getattr(module, name)`), and files
that the code reads. A constant that is edited while a process lives is not noticed, unlike a function.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from lmablate.config.trust import import_trusted, targets_of, trusted_by
from lmablate.errors import UserError

Definition = tuple[str, str]  # of a module and a name in it; the name is "" for the whole module


def class_fingerprints(config: Any) -> dict[str, str]:
    """Return the fingerprint of each class of the user's own in a plain config, by the class's path.

    Raises:
        UserError: if a function has been edited since this process imported it, and so is not what runs here.
    """
    for reader in (_tree, _names, _imports):
        reader.cache_clear()  # a notebook lives longer than a version of a file
    own = sorted({target for target in targets_of(config) if trusted_by(target)})
    return {target: _fingerprint(*_defined_at(target)) for target in own}


def _defined_at(target: str) -> Definition:
    """Return the module that defines a class, which may be another than that from which the config takes it."""
    module, _, name = target.rpartition(".")
    found = getattr(import_trusted(module), name)
    return found.__module__, found.__qualname__.partition(".")[0]


def _fingerprint(module: str, name: str) -> str:
    waiting, seen = [(module, name)], set()
    while waiting:
        definition = waiting.pop()
        if definition in seen:
            continue
        seen.add(definition)
        _check_loaded(*definition)
        waiting += _used_by(*definition)
    canonical = "\n".join(f"{module}.{name}: {_canonical(_nodes(module, name))}" for module, name in sorted(seen))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _check_loaded(module: str, name: str) -> None:
    """Check that this process runs what the file says, as after an edit only a new process or a reload does."""
    loaded = getattr(sys.modules.get(module), name, None) if name else None
    members = [loaded, *vars(loaded).values()] if isinstance(loaded, type) else [loaded]
    written = _code_by_name(compile(_tree(module), "", "exec"))
    for member in members:
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if not isinstance(function, FunctionType) or function.__module__ != module:
            continue
        if _plain(function.__code__) not in map(_plain, written.get(function.__code__.co_qualname, [])):
            raise UserError(f"{module}.{name} has been edited since it was imported: start Python anew, or reload it.")


def _code_by_name(code: CodeType) -> dict[str, list[CodeType]]:
    """Return the code of each function in a module, by its qualified name, which may have several definitions."""
    found: dict[str, list[CodeType]] = {}
    waiting = [code]
    while waiting:
        inner = [const for const in waiting.pop().co_consts if isinstance(const, CodeType)]
        for each in inner:
            found.setdefault(each.co_qualname, []).append(each)
        waiting += inner
    return found


def _plain(code: CodeType) -> CodeType:
    """Return code without its place in a file."""
    consts = tuple(_plain(const) if isinstance(const, CodeType) else const for const in code.co_consts)
    return code.replace(co_filename="", co_firstlineno=1, co_linetable=b"", co_consts=consts)


def _nodes(module: str, name: str) -> list[ast.stmt]:
    """Return the statements that define a name, or all of the module if it has no such name."""
    names = _names(module)
    return names[name] if name in names else _tree(module).body


def _used_by(module: str, name: str) -> Iterator[Definition]:
    """Yield the definitions of trusted packages that a definition names."""
    names, imports = _names(module), _imports(module)
    for statement in _nodes(module, name):
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):  # inside a function
                yield from _imported_by(node, module).values()
            if not isinstance(node, ast.Name):
                continue
            if node.id in names:
                yield module, node.id
            elif node.id in imports:
                yield imports[node.id]
    yield from (imports[key] for key in imports if key.startswith("*"))  # of `from .other import *`


@cache
def _tree(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


@cache
def _names(module: str) -> Mapping[str, list[ast.stmt]]:
    """Return the statements at the top of a module that define or change each name."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in _tree(module).body:
        for name in () if isinstance(statement, ast.Import | ast.ImportFrom) else _defined(statement):
            found.setdefault(name, []).append(statement)
    return found


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {statement.name}
    stored = {
        node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    changed = {_root(target) for target in getattr(statement, "targets", [])}
    nested = {
        node.name
        for node in ast.walk(statement)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return stored | nested | (changed - {""})


def _root(target: ast.expr) -> str:
    """Return the name whose part is assigned to: `TABLE` in `TABLE["x"] = 1` and in `TABLE.x = 1`."""
    while isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


@cache
def _imports(module: str) -> dict[str, Definition]:
    found: dict[str, Definition] = {}
    for statement in ast.walk(_tree(module)):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            found |= _imported_by(statement, module)
    return found


def _imported_by(node: ast.Import | ast.ImportFrom, module: str) -> dict[str, Definition]:
    """Return what an import takes from trusted packages, by the name that it gets."""
    if isinstance(node, ast.Import):
        taken = {alias.asname or alias.name.partition(".")[0]: (alias.name, "") for alias in node.names}
        return {name: definition for name, definition in taken.items() if trusted_by(definition[0])}
    source = _absolute(node, module)
    if not trusted_by(source):
        return {}
    found: dict[str, Definition] = {}
    for alias in node.names:
        is_module = alias.name != "*" and _is_module(f"{source}.{alias.name}") and alias.name not in _names(source)
        name = f"*{source}" if alias.name == "*" else alias.asname or alias.name
        found[name] = (f"{source}.{alias.name}", "") if is_module else (source, "" if alias.name == "*" else alias.name)
    return found


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    spec = importlib.util.find_spec(module)
    package = spec.parent if spec and spec.parent else module
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _canonical(statements: list[ast.stmt]) -> str:
    """Return statements as text, without what does not count: comments, layout, docstrings."""
    return "\n".join(ast.dump(_WithoutDocstrings().visit(ast.parse(ast.unparse(node)))) for node in statements)


class _WithoutDocstrings(ast.NodeTransformer):
    """Removes the statements that are only text from classes and functions."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        body = getattr(node, "body", None)
        if isinstance(body, list) and isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in body if not _is_text(each)] or [ast.Pass()]
        return super().generic_visit(node)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
