"""Value digests: one digest for one meaning, in every process and under every hash seed.

Keys of tasks are made of these. A value is walked without recursion: leaves are encoded at once
(`digest_encoding`), anything else opens a branch made of its parts (`digest_kinds` says of which),
and what contains itself is settled as a whole (`digest_cycles`).

Different by decision: 1, True, 1.0 and "1"; 0.0 and -0.0; Decimal 1.0 and 1.00; dict orders; time
zones and folds; byte orders of arrays; a scalar of numpy and one of Python. The same by decision:
set orders; shared and copied parts; strides and memory order; chunks of columns; the order in which
attributes were set; a NaN of any sign and payload as a Python float, while in an array a NaN counts
by its bits, since looking for it would cost a second pass.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from xxhash import xxh3_128_hexdigest

from dagger.cache.digest_encoding import LEAVES, Branch, seal, text
from dagger.errors import UndigestibleError
from dagger.lean_typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dagger.cache.digest_kinds import Code

Digest = str
_T = TypeVar("_T")


def digest_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """Digest bytes: xxh3_128 as 32 hexadecimal characters."""
    if isinstance(data, memoryview) and not data.c_contiguous:
        data = data.tobytes()
    return xxh3_128_hexdigest(data)


def digest_text(string: str) -> Digest:
    """Digest a string's UTF-8 bytes; quick, but not the string's digest as a value."""
    return xxh3_128_hexdigest(text(string))


def keyed_digest(text: str, secret: bytes) -> str:
    """Return a digest of a text that cannot be tried out without the cache's secret (BLAKE2b, keyed)."""
    from hashlib import blake2b

    return blake2b(os.fsencode(text), key=secret[:64], digest_size=16).hexdigest()


def digest_value(
    value: object,
    *,
    path: str = "value",
    code: Callable[[object], Digest] | None = None,
    instances: set[type] | None = None,
) -> Digest:
    """Digest a value by its meaning.

    Args:
        value: Anything. It must not change meanwhile.
        path: What the value is called in an error.
        code: Digests functions, and classes as values; by default their fingerprint.
        instances: Is given the classes of all that the value is made of, but for the plainest builtins: an instance
            counts by its class's name and its state, so whoever must count the class's code learns of it here.

    Raises:
        UndigestibleError: A part of the value has no digest. It names the path to that part.
    """
    leaf = LEAVES.get(type(value))
    if leaf is not None:
        return xxh3_128_hexdigest(leaf(value))
    walk = _Walk(path, code or _fingerprint)
    encoding = walk.encode(value)
    if instances is not None:
        instances |= walk.kinds
    return xxh3_128_hexdigest(encoding)


def register_digest(kind: type[_T], digest: Callable[[_T], Any]) -> None:
    """Say what values of a type are digested by.

    The function returns whatever makes out the value, in digestible form, such as a tuple of its
    parts. It holds for subclasses too, unless a more specific class has its own; an instance's
    class counts by itself.

    Args:
        kind: The type.
        digest: Gets the value.
    """
    from dagger.cache import digest_kinds

    digest_kinds.register(kind, digest)


def _fingerprint(function: object) -> Digest:
    from dagger.cache.fingerprints import fingerprint

    return fingerprint(function).digest


def _references() -> int:
    # Read off in the same setting as in the walk, since interpreters differ in what they count.
    for child in iter([object()]):
        return sys.getrefcount(child)
    raise AssertionError


_ONE_HOLDER = _references()


class _Walk:
    """One value's walk: Tarjan's search for strongly connected components, on a stack of our own.

    What more than one holds may come up again and is remembered, so that shared parts cost nothing;
    a remembered value is kept alive, since its id would otherwise be given to another one.
    """

    def __init__(self, path: str, code: Code) -> None:
        # Not at the top: who digests plain values alone, as most runs do, needs none of the other kinds.
        from dagger.cache.digest_kinds import open_value

        self._path = path
        self._code = code
        self._open_value = open_value
        self.kinds: set[type] = set()
        self._known: dict[int, tuple[bytes, object]] = {}
        self._open: dict[int, Branch] = {}
        self._trail: list[Branch] = []
        self._stack: list[Branch] = []

    def encode(self, value: object) -> bytes:
        """The value's encoding; the digest is made of it."""
        root = Branch(value, b"", (value,), lambda _branch, _position: "")
        self._stack.append(root)
        try:
            self._run()
        except UndigestibleError as error:
            path = self._path + "".join(branch.label(branch, len(branch.parts)) for branch in self._stack)
            raise UndigestibleError(path + error.path, error.kind) from error
        (encoding,) = root.parts
        return encoding  # type: ignore[return-value]

    def _run(self) -> None:
        stack, known, open_branches = self._stack, self._known, self._open
        while True:
            branch = stack[-1]
            parts = branch.parts
            for child in branch.rest:
                leaf = LEAVES.get(type(child))
                if leaf is not None:
                    parts.append(leaf(child))
                    continue
                identity = id(child)
                if identity in known:
                    parts.append(known[identity][0])
                    continue
                if identity in open_branches:
                    target = open_branches[identity]
                    parts.append(target)
                    branch.cyclic = True
                    branch.low = min(branch.low, target.index)
                    continue
                self.kinds.add(type(child))
                opened = self._open_value(child, self._code)
                shared = sys.getrefcount(child) > _ONE_HOLDER
                if isinstance(opened, Branch):
                    opened.shared = shared
                    self._enter(identity, child, opened)
                    break
                parts.append(opened)
                if shared and opened[:1] == b"#":
                    known[identity] = (opened, child)
            else:
                if len(stack) == 1:
                    return
                self._leave()

    def _enter(self, identity: int, value: object, branch: Branch) -> None:
        branch.value = value
        branch.index = branch.low = len(self._trail)
        self._open[identity] = branch
        self._trail.append(branch)
        self._stack.append(branch)

    def _leave(self) -> None:
        branch = self._stack.pop()
        parent = self._stack[-1]
        if branch.low < branch.index:
            parent.cyclic = True
            parent.low = min(parent.low, branch.low)
            parent.parts.append(branch)
        elif branch.cyclic:
            parent.parts.append(self._close_cycle(branch))
        else:
            self._trail.pop()
            del self._open[id(branch.value)]
            encoding = seal(branch.encode())
            if branch.shared:
                self._known[id(branch.value)] = (encoding, branch.value)
            parent.parts.append(encoding)

    def _close_cycle(self, root: Branch) -> bytes:
        from dagger.cache.digest_cycles import resolve_cycle

        component = self._trail[root.index :]
        del self._trail[root.index :]
        encodings = resolve_cycle(component)
        for branch in component:
            del self._open[id(branch.value)]
            if id(branch) in encodings:
                self._known[id(branch.value)] = (encodings[id(branch)], branch.value)
        return encodings[id(root)]
