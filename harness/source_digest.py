"""A digest of source files that changes when what they compute may change, and only then.

Comments, docstrings and blank lines do not count, nor does the folder the files lie in.
"""

import ast
import hashlib
import io
import sys
import tokenize
from collections.abc import Callable, Collection, Iterable
from functools import cache, lru_cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

_LINE_ENDS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)
_NOTHING = (tokenize.NL, tokenize.COMMENT)


def digest_of_modules(
    roots: Collection[str], follow: Callable[[str], bool], given: Callable[[str], bytes | None]
) -> str:
    """Digest of modules and of what they import, directly or not.

    Args:
        roots: names of the modules.
        follow: whether an imported module counts too.
        given: the source of a module where it is not that of a file, else None.

    Raises:
        LookupError: a root has no source; its name is the argument.
    """
    sources: dict[str, bytes] = {}
    waiting = sorted(roots)
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        source = given(name) or _source_of(name)
        if source is None:
            if name in roots:
                raise LookupError(name)
            continue
        sources[name] = source
        waiting += filter(follow, _imported(source, name))
    lines = [f"{name} {_digest(sources[name])}\n" for name in sorted(sources)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def statements(source: bytes) -> str:
    """A Python source without comments, docstrings and blank lines."""
    lines = source.decode().splitlines()
    tokens = list(tokenize.tokenize(io.BytesIO(source).readline))
    before = tokenize.ENCODING
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        is_docstring = (
            token.type == tokenize.STRING
            and before in _LINE_ENDS
            and following.type in (*_NOTHING, tokenize.NEWLINE)
        )
        if token.type == tokenize.COMMENT or is_docstring:
            first, last = token.start[0] - 1, token.end[0] - 1
            kept_before, kept_after = lines[first][: token.start[1]], lines[last][token.end[1] :]
            lines[first : last + 1] = [kept_before, *[""] * (last - first)]
            lines[last] += kept_after if is_docstring else ""
        if token.type not in _NOTHING:
            before = token.type
    return "\n".join(line.rstrip() for line in lines if line.strip())


@lru_cache(maxsize=1024)
def _digest(source: bytes) -> str:
    return hashlib.sha256(statements(source).encode()).hexdigest()


def _imported(source: bytes, module: str) -> Iterable[str]:
    """Names of the modules that a source imports anywhere in it."""
    for parent, name in _imports(source):
        try:
            full = resolve_name(parent, module.rpartition(".")[0]) if parent else ""
        except ImportError:
            continue
        if not name:
            yield full
        else:
            inner = f"{full}.{name}" if full else name
            yield inner if _is_module(inner) else full


@lru_cache(maxsize=1024)
def _imports(source: bytes) -> tuple[tuple[str, str], ...]:
    """Module and name (or "") of each import, relative ones with their leading dots."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = "." * node.level + (node.module or "")
            found += [(parent, alias.name) for alias in node.names]
    return tuple(found)


@cache
def _is_module(name: str) -> bool:
    return name in sys.modules or _spec_file(name) is not None


def _source_of(name: str) -> bytes | None:
    """The file of a module, loaded or not; None where it has none."""
    path = getattr(sys.modules.get(name), "__file__", None) or _spec_file(name)
    if path is None or Path(path).suffix != ".py" or not Path(path).is_file():
        return None
    return Path(path).read_bytes()


def _spec_file(name: str) -> str | None:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # its parent is no package, or it is made up at run time
        return None
    return spec.origin if spec is not None else None
