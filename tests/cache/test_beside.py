"""What is written beside an output is found again by the output's name, and by no other."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings, strategies as st

from dagger.cache.blob_files import all_beside, beside, beside_some

NAMES = st.one_of(
    st.text(st.sampled_from("ab.[]*?!é-"), min_size=1, max_size=6),
    # Of over 200 bytes, alike for long.
    st.builds(lambda fill, end: fill * 100 + end, st.sampled_from(["xy", "é"]), st.sampled_from(["1", "2.pkl", "[3]"])),
).filter(lambda name: name not in (".", ".."))


@settings(deadline=None)
@given(st.sets(NAMES, min_size=1, max_size=4), st.sampled_from(["out", "o[u]t", "*"]))
def test_each_finds_its_own(names, folder):
    with tempfile.TemporaryDirectory(prefix="dagger-") as root:
        place = Path(root) / folder
        place.mkdir()
        made = {name: beside(str(place / name)) for name in names}
        for path in made.values():
            Path(path).touch()
        for name in names:
            (place / name).touch()
            assert all_beside(str(place / name)) == [made[name]]
        found = {str(Path(root) / unfinished): Path(path).name for unfinished, path in beside_some("*", root)}
        short = {path: name for name, path in made.items() if len(name.encode()) <= 200}
        assert short.items() <= found.items()
        assert set(found) == set(made.values())
