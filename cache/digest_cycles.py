"""Digests of what contains itself, so that two processes agree wherever they enter the cycle.

`digests` hands over a strongly connected component: branches each of which leads to every other.
A branch in it is worth what its endless unfolding looks like. Colours find that out: a branch's
first colour is its tag and its closed parts, the next takes in its neighbours' colours, until no
round tells more apart than the one before. The final colour together with the set of all colours
then says everything, and neither sharing nor the way in makes a difference.

A long chain that refers back to its start needs as many rounds as it has links. Large components
are therefore cut off after some rounds and written down branch by branch instead, with numbers
for who is who: linear, as exact, but with shared parts of the cycle told from copied ones.
(Lost: a back-reference by depth alone. A dense graph of objects then unfolds into all its paths.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from xxhash import xxh3_128, xxh3_128_digest

from dagger.cache.digest_encoding import Branch

_WORK = 1_000_000
_LEAST_ROUNDS = 8

Colours = dict[int, bytes]


def resolve_cycle(component: Sequence[Branch]) -> dict[int, bytes]:
    """Encodings of a component's branches, by `id(branch)`.

    The first branch of the component is always among them; where the cycle looks alike from many
    places, it may be the only one.
    """
    colours, settled = _colours(component)
    if settled:
        whole = xxh3_128_digest(b"".join(sorted(set(colours.values()))))
        return {key: b"@" + whole + colour for key, colour in colours.items()}
    counts = Counter(colours.values())
    single = [branch for branch in component if counts[colours[id(branch)]] == 1]
    root = min(single, key=lambda branch: colours[id(branch)], default=component[0])
    written, numbers = _write(root, colours)
    if not single:
        return {id(root): b"&" + written + b"0;"}
    return {key: b"&" + written + b"%d;" % number for key, number in numbers.items()}


def _colours(component: Sequence[Branch]) -> tuple[Colours, bool]:
    colours = {id(branch): b"" for branch in component}
    kinds = 1
    for _round in range(max(_LEAST_ROUNDS, _WORK // len(component))):
        former = colours
        colours = {
            id(branch): xxh3_128_digest(branch.encode(lambda part: b"?" + former[id(part)]))  # noqa: B023
            for branch in component
        }
        found = len(set(colours.values()))
        if found == kinds:
            return colours, True
        kinds = found
    return colours, False


def _write(root: Branch, colours: Colours) -> tuple[bytes, dict[int, int]]:
    numbers = {id(root): 0}
    order = [root]
    hasher = xxh3_128()

    def number(part: Branch) -> bytes:
        if id(part) not in numbers:
            numbers[id(part)] = len(numbers)
            order.append(part)
        return b"?%d;" % numbers[id(part)]

    for branch in order:
        if branch.unordered:
            # Members get their numbers in an order that does not depend on the hash seed.
            branch.parts.sort(key=lambda part: colours[id(part)] if isinstance(part, Branch) else part)
        hasher.update(branch.encode(number))
    return hasher.digest(), numbers
