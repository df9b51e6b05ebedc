"""A script's text as it counts in a key: without the margin that it has in the file where it is written."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1_024)
def dedent_script(script: str) -> str:
    """Returns a script without its common margin, nor empty lines around it; it ends with one newline.

    This is the text that counts in a key, and that runs.
    """
    if "\n" not in script and script[:1].strip():
        return script + "\n"
    lines = script.split("\n")
    margin: str | None = None
    for line in lines:
        if line.strip():
            indent = line[: len(line) - len(line.lstrip(" \t"))]
            margin = indent if margin is None else _common(margin, indent)
    width = len(margin or "")
    # An empty line may hold a part of the margin; spaces beyond it may be data, as in a quoted text.
    cut = [line[width:] if line.strip() else line[len(_common(line, margin or "")) :] for line in lines]
    while cut and not cut[0].strip():
        del cut[0]
    while cut and not cut[-1].strip():
        del cut[-1]
    return "\n".join(cut) + "\n"


def _common(one: str, other: str) -> str:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return one[:length]
