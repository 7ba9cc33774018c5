"""Prove that what is built can be used: ``python .ci/dist_check.py DIST``, with one wheel and one sdist in DIST.

The wheel must hold the whole package and nothing else, the sdist what is needed to build and test it. For every Python
of the classifiers that is found on this machine, the wheel is installed without extras into an environment of its own;
models are fitted, and the command line says what it lacks. With the extra ``cli`` its demonstration must run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "interlace"
#: What the sdist needs beside the package.
FOLDERS = ("tests", "parity", "r_reference", "benchmarks", "docs", ".ci")
FILES = ("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Makefile", "pyproject.toml")

#: A model with known estimates; what is optional is not there, and nothing but the wheel is imported.
FIT = """
import importlib.util, sys
import interlace
assert "site-packages" in interlace.__file__, interlace.__file__
extras = [name for name in ("matplotlib", "jinja2", "typer", "rpy2", "sksparse") if importlib.util.find_spec(name)]
assert not extras, f"installed without being asked for: {extras}"
result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
assert result.converged and round(result.reml_criterion, 4) == 1743.6283, result
cbpp = interlace.datasets.load("cbpp")
herds = interlace.glmer("incidence / size ~ period + (1 | herd)", cbpp, "binomial", weights="size")
assert herds.converged and round(-2 * herds.llf, 4) == 184.0526, herds
print("interlace", interlace.__version__, "on Python", sys.version.split()[0], "fits without extras")
"""


def main(folder: Path) -> None:
    """Check both files, and the wheel in every Python that there is."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    wanted = pythons()
    for version, python in wanted.items():
        if python is None:
            print(f"Python {version} is not on this machine: not checked")
        else:
            check_installed(wheel, python)
    if not any(wanted.values()):
        fail("there is no Python to check with")


def fail(message: str) -> None:
    """End with an error."""
    sys.exit(f"dist-check: {message}")


def package_files() -> set[str]:
    """Every file of the package, relative to the root."""
    return {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def check_wheel(wheel: Path) -> None:
    """The package, all of it, and its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licenses = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    if missing := package_files() - names:
        fail(f"the wheel lacks {sorted(missing)}")
    if more := names - package_files():
        fail(f"the wheel holds what it should not: {sorted(more)[:10]}")
    if not licenses:
        fail("the wheel has no license")
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB")


def check_sdist(sdist: Path) -> None:
    """The package, its tests and its documentation, and nothing that was generated."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    if missing := package_files() - names:
        fail(f"the sdist lacks {sorted(missing)}")
    lacking = [folder for folder in FOLDERS if not any(name.startswith(f"{folder}/") for name in names)]
    if lacking := lacking + [name for name in FILES if name not in names]:
        fail(f"the sdist lacks {lacking}")
    if generated := [name for name in names if re.match(r"(site|docs/generated|parity/out)/|.*__pycache__", name)]:
        fail(f"the sdist holds what is generated: {sorted(generated)[:10]}")
    print(f"{sdist.name}: {len(names)} files, {sdist.stat().st_size / 1e6:.1f} MB")


def pythons() -> dict[str, str | None]:
    """An interpreter for each version that the project claims to support, where there is one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    return {version: python(version) for version in versions}


def python(version: str) -> str | None:
    """The interpreter of a version: on the path, or among those that pyenv has installed."""
    shims = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    on_path = shutil.which(f"python{version}")
    for candidate in (on_path, *sorted(map(str, shims.glob(f"{version}.*/bin/python")))):
        if candidate and runs(candidate, version):
            return candidate
    return None


def runs(candidate: str, version: str) -> bool:
    """Whether it is there and of this version: a shim may stand for nothing."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() == version


def check_installed(wheel: Path, interpreter: str) -> None:
    """Install the wheel into an environment of its own and use it, from a folder without the sources."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

        def call(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            if check and done.returncode:
                fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
            return done

        call(interpreter, "-m", "venv", "venv")
        own = str(Path(folder, "venv", "bin", "python"))
        pip = (own, "-m", "pip", "--disable-pip-version-check", "--quiet")
        call(*pip, "install", str(wheel))
        call(*pip, "check")
        print(call(own, "-c", FIT).stdout, end="")
        bare = call(own, "-m", "interlace", "demo", check=False)
        if bare.returncode and (bare.stderr.count("\n") != 1 or "interlace-lme[cli]" not in bare.stderr):
            fail(f"without extras the command line does not say in a line what to install:\n{bare.stdout}{bare.stderr}")
        call(*pip, "install", f"{wheel}[cli]")
        shown = call(own, "-m", "interlace", "demo").stdout
        if not all(text in shown for text in ("Linear mixed model", "Generalized linear mixed model")):
            fail(f"the demonstration does not show its models:\n{shown}")
        call(str(Path(folder, "venv", "bin", "interlace")), "datasets")
        print(f"    its demonstration runs: {len(shown.splitlines())} lines")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
