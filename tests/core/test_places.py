"""Where paths lead: one file has one name, however it is written."""

from __future__ import annotations

import os

import pytest

from dagger.core.places import Places

PATHS = """
    file.txt ./file.txt folder/file.txt folder//file.txt folder/./file.txt folder/../file.txt folder/.. folder/. folder/
    link/file.txt link/../file.txt link/ link linked.txt dangling.txt missing/file.txt missing/../file.txt
    folder/*.txt / /etc /etc/ //etc/passwd circle circle/file.txt
"""


@pytest.mark.parametrize("path", PATHS.split())
def test_real_with_its_folder_known(tmp_path, path):
    """A path has the same name when what is beside it was asked for before."""
    project = tmp_path / "project"
    (project / "folder").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (project / "file.txt").touch()
    (project / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    (project / "linked.txt").symlink_to("folder/target.txt")
    (project / "dangling.txt").symlink_to("nowhere/target.txt")
    (project / "circle").symlink_to("circle")
    places = Places(str(project))
    folders: dict[str, str] = {}
    for _ in range(2):
        assert places.real(path, folders) == places.real(path) == os.path.realpath(project / path)
