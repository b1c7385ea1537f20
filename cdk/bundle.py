"""The dependency layer: wheels from the lock, unpacked without Docker, for AWS or for this machine."""

import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Literal

from .sources import CACHE, ROOT

LOCK = ROOT / "requirements" / "layer.txt"
AWS_PYTHON = "3.13"

# Files of a distribution's metadata that depend on the machine that unpacked it: RECORD names scripts with the path
# of its interpreter.
_OF_THIS_MACHINE = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")


def dependency_layer(target: Literal["aws", "host"], python: str = AWS_PYTHON) -> Path:
    """Return a folder with the layer's content, made on first use; later uses need no network.

    ``aws`` is for Lambda's ``python`` on arm64. Its content depends on the lock and on ``python`` alone, not on
    the machine that makes it; it has the distributions' metadata and licences. ``host`` is for the interpreter
    that runs this, with compiled modules.

    Raises:
        subprocess.CalledProcessError: pip failed; its output is on standard error.
    """
    wheels = _aws_wheels(python) if target == "aws" else []
    here = "" if target == "aws" else f"{sysconfig.get_platform()} {sys.version_info[:2]}"
    recipe = repr((LOCK.read_text(), wheels, here, _OF_THIS_MACHINE))
    folder = CACHE / f"layer-{target}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    partial = folder.with_suffix(f".{os.getpid()}.partial")
    unpack(partial / "python", wheels)
    if target == "host":
        compileall.compile_dir(
            partial / "python", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    try:
        partial.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(partial)  # another process made the same meanwhile
    return folder


def unpack(folder: Path, wheels: list[str]) -> None:
    """Unpack the lock's wheels into a folder, without what depends on this machine."""
    pip = "-m pip install --quiet --no-compile --no-deps --only-binary=:all: --require-hashes"
    where = ["--requirement", str(LOCK), "--target", str(folder)]
    subprocess.run([sys.executable, *pip.split(), "--disable-pip-version-check", *where, *wheels], check=True)
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for name in _OF_THIS_MACHINE:
        for path in folder.glob(f"*.dist-info/{name}"):
            path.unlink()


def _aws_wheels(python: str) -> list[str]:
    # The newest glibc tag alone hides wheels that carry an older one, the oldest alone those that carry a newer.
    return [
        *("--implementation", "cp", "--python-version", python),
        *("--platform", "manylinux_2_28_aarch64", "--platform", "manylinux2014_aarch64"),
    ]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(dependency_layer("aws" if name == "aws" else "host"))
