"""The peers and dagger: where they are, each as its users would install it, and which versions they have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.harness import progress

TOP = Path(__file__).resolve().parents[2]
PACKAGES = ("ninja", "doit", "joblib", "redun", "snakemake", "pytask")


def home() -> Path:
    """Return the folder of the peers' environment and of the projects that are measured."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DAGGER_BENCHMARKS") or Path(base, "dagger-benchmarks"))


@cache
def environment() -> Path:
    """Return the bin folder of the peers' environment, which is made at the first call."""
    bin_folder = home() / "peers" / "bin"
    if not all((bin_folder / name).exists() for name in ("ninja", "doit", "redun", "snakemake", "pytask")):
        progress(f"making an environment for {', '.join(PACKAGES)} in {bin_folder.parent}")
        venv.create(bin_folder.parent, with_pip=True)
        subprocess.run([bin_folder / "python", "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return bin_folder


@cache
def dagger_python() -> str:
    """Return an interpreter for which dagger is installed, as it is here now.

    An editable install is no measure: its finder takes longer to load than much of dagger.
    """
    folder = home() / "dagger"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    with TemporaryDirectory() as copy:  # setuptools leaves build/ behind, and would take it up again
        tree = Path(copy, "dagger")
        shutil.copytree(TOP, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "*.so"))
        subprocess.run([*pip, tree, "numpy"], check=True)
        subprocess.run([*pip, "--no-deps", "--force-reinstall", tree], check=True)
    return str(python)


def program(name: str) -> str:
    """Return the command of a peer; make is the machine's own.

    Raises:
        RuntimeError: The machine has no make.
    """
    if name == "make":
        found = shutil.which("gmake") or shutil.which("make")
        if found is None:
            raise RuntimeError("there is no make on this machine; install GNU make")
        return found
    return str(environment() / name)


def python() -> str:
    """Return the interpreter of the peers."""
    return program("python")


@cache
def versions() -> dict[str, str]:
    """Return the versions of everything that takes part, dagger and Python first."""
    found = {"dagger": revision(), "Python": sys.version.split()[0]}
    listed = subprocess.check_output([python(), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"])
    installed = {it["name"].lower(): it["version"] for it in json.loads(listed)}
    made_by = subprocess.check_output([program("make"), "--version"], text=True).splitlines()[0]
    found["make"] = made_by.split()[-1]
    found.update({name: installed[name] for name in PACKAGES})
    return found


@cache
def revision() -> str:
    """Return the last commit that changed dagger itself, with a ``+`` where there are changes since."""
    git = ["git", "-C", str(TOP)]
    rooms = ["--", "dagger", "cache", "cli"]
    last = subprocess.run([*git, "log", "-1", "--format=%h", *rooms], capture_output=True, text=True)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", *rooms], capture_output=True)
    return f"{last.stdout.strip()}{'+' if changed.returncode else ''}" or "unknown"
