"""What `pip install` leaves behind: one package, its types and its command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ["pyproject.toml", "README.md", "LICENSE", "dagger", "cache", "cli"]


def call(*command: object, **options: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy: setuptools leaves build/ behind, and would take it up again."""
    copy = tmp_path_factory.mktemp("copy")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    made = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    call(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", made, copy)
    (built,) = made.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of a new environment with the wheel; only dependencies are borrowed."""
    venv = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    call(*pip, "install", "-q", "--no-deps", "--no-index", wheel)
    # A folder named in a .pth file is searched, but its own .pth files, such as that of an editable
    # install of dagger, are not followed.
    purelib = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(purelib, "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    return venv / "bin"


@pytest.fixture
def outside() -> dict[str, str]:
    """Return an environment in which nothing leads back to the checkout."""
    ours = ("PYTHON", "DAGGER_", "COV_", "PYTEST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def test_only_dagger_is_installed(wheel: Path) -> None:
    """No import package called `cache`, `cli` or `tests` is ever installed, only `dagger`."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dagger"}
    assert len(tops) == 2


def test_every_room_and_the_types_are_installed(wheel: Path) -> None:
    """The wheel has each module under its import name, and the mark of a typed package."""
    places = {"dagger": "dagger", "cache": "dagger/cache", "cli": "dagger/cli"}
    expected = {
        f"{place}/{module.relative_to(ROOT / folder).as_posix()}"
        for folder, place in places.items()
        for module in (ROOT / folder).rglob("*.py")
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected <= names
    assert "dagger/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_an_installed_dagger_runs_a_script(installed: Path, outside: dict[str, str], tmp_path: Path) -> None:
    """What was installed is what is imported, and both ways to run a script work with it."""
    shutil.copy(ROOT / "examples" / "diamond.py", tmp_path)
    options = {"cwd": tmp_path, "env": outside}
    where = call(installed / "python", "-c", "import dagger.cache; print(dagger.cache.__file__)", **options)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "40" in call(installed / "python", "diamond.py", **options)
    assert "40" in call(installed / "dagger", "run", "diamond.py", **options)


def test_the_command_tells_its_version(wheel: Path, installed: Path, outside: dict[str, str], tmp_path: Path) -> None:
    """`dagger --version` and `python -m dagger --version` say the wheel's version."""
    options = {"cwd": tmp_path, "env": outside}
    by_name = call(installed / "dagger", "--version", **options)
    by_module = call(installed / "python", "-m", "dagger", "--version", **options)
    assert by_name == by_module
    assert wheel.name.split("-")[1] in by_name
