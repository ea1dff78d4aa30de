"""What a function can reach: definitions of one package, by name, through re-exports and catalogs."""

import ast
import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: `"module:builder"` in a catalog, or the module that a subprocess runs.
REFERENCE = re.compile(r"(?P<module>[a-z_]\w*(?:\.\w+)+)(?::(?P<symbol>\w+))?")
Target = tuple[str, str | None]  # (module, top-level name); None: all of the module


@dataclass
class Module:
    """The top level of one file.

    Attributes:
        definitions: Name to the statements that define it.
        imports: Name to what it stands for, for imports from the package.
        loose: Statements that run on import and define nothing.
    """

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Target] = field(default_factory=dict)
    loose: list[ast.stmt] = field(default_factory=list)


class Code:
    """The modules of one package, parsed when asked for."""

    def __init__(self, source: Path, package: str) -> None:
        """Look below `source`/`package`."""
        self.package = package
        self.paths = {_dotted(path.relative_to(source)): path for path in (source / package).rglob("*.py")}
        self._parsed: dict[str, Module] = {}

    def module(self, name: str) -> Module:
        """The top level of module `name`."""
        if name not in self._parsed:
            self._parsed[name] = self._parse(name)
        return self._parsed[name]

    def reach(self, start: Target, left_out: frozenset[str] = frozenset()) -> dict[tuple[str, str], str]:
        """Every definition that `start` can reach by name.

        Args:
            start: Where to begin.
            left_out: Modules that are neither listed nor followed.

        Returns:
            (module, name) to the text of its syntax tree: no comment, docstring or layout is in it.
        """
        found: dict[tuple[str, str], str] = {}
        seen: set[Target] = set()
        waiting: list[Target] = [start]
        while waiting:
            target = waiting.pop()
            name, symbol = target
            if target in seen or name in left_out or name not in self.paths:
                continue
            seen.add(target)
            module = self.module(name)
            nodes: list[ast.stmt] = list(module.loose)
            if module.loose:
                found[name, "(on import)"] = "".join(_text(node) for node in module.loose)
            if symbol is None:
                waiting += [(name, each) for each in [*module.definitions, *module.imports]]
            elif symbol in module.definitions:
                nodes += module.definitions[symbol]
                found[name, symbol] = "".join(_text(node) for node in module.definitions[symbol])
            elif symbol in module.imports:
                waiting.append(module.imports[symbol])
            elif f"{name}.{symbol}" in self.paths:
                waiting.append((f"{name}.{symbol}", None))
            for node in nodes:
                waiting += self._used(name, module, node)
        return found

    def statements(self, keys: Iterable[tuple[str, str]]) -> Iterator[ast.stmt]:
        """The statements behind keys of what `reach` found."""
        for name, symbol in keys:
            module = self.module(name)
            yield from module.definitions.get(symbol, module.loose)

    def _used(self, name: str, module: Module, statement: ast.stmt) -> list[Target]:
        used: list[Target] = []
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and (node.id in module.definitions or node.id in module.imports):
                used.append((name, node.id))
            elif isinstance(node, ast.Import | ast.ImportFrom):
                used += self._bound(name, node).values()
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                match = REFERENCE.fullmatch(node.value)
                if match and match["module"] in self.paths:
                    used.append((match["module"], match["symbol"]))
        return used

    def _bound(self, name: str, node: ast.Import | ast.ImportFrom) -> dict[str, Target]:
        if isinstance(node, ast.Import):
            inside = [alias for alias in node.names if alias.name in self.paths]
            return {alias.asname or alias.name.partition(".")[0]: (alias.name, None) for alias in inside}
        origin = node.module or ""
        if node.level:
            parts = name.split(".")
            is_package = self.paths[name].name == "__init__.py"
            base = parts[: len(parts) - node.level + is_package]
            origin = ".".join([*base, *([node.module] if node.module else [])])
        if origin not in self.paths:
            return {}
        return {alias.asname or alias.name: (origin, None if alias.name == "*" else alias.name) for alias in node.names}

    def _parse(self, name: str) -> Module:
        module = Module()
        body = ast.parse(self.paths[name].read_text()).body
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                module.imports |= self._bound(name, node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                module.definitions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [leaf.id for each in targets for leaf in ast.walk(each) if isinstance(leaf, ast.Name)]
                for each in names:
                    if each != "__all__":
                        module.definitions.setdefault(each, []).append(node)
            elif not _is_docstring(node):
                module.loose.append(node)
        return module


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _text(statement: ast.stmt) -> str:
    bare = copy.deepcopy(statement)
    for node in ast.walk(bare):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body.pop(0)
    return ast.dump(bare).replace(", type_params=[]", "")  # a field that Python 3.12 added
