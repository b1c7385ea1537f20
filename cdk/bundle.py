"""The dependency layer: wheels from the lock, unpacked without Docker, for AWS or for this machine."""

import compileall
import hashlib
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "layer.txt"
AWS_PYTHON = "3.13"

# The newest glibc tag alone hides wheels that carry an older one, the oldest alone those that carry a newer.
_AWS_WHEELS = [
    *("--implementation", "cp", "--python-version", AWS_PYTHON),
    *("--platform", "manylinux_2_28_aarch64", "--platform", "manylinux2014_aarch64"),
]


def dependency_layer(target: Literal["aws", "host"]) -> Path:
    """Return a folder with the layer's content, made on first use; later uses need no network.

    ``aws`` is for Lambda's Python 3.13 on arm64, ``host`` for the interpreter that runs this. The modules are
    compiled when this interpreter is of the version that will run them: Lambda's code folder is read-only, so
    that it would compile them at every cold start.

    Raises:
        subprocess.CalledProcessError: pip failed; its output is on standard error.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    compiled = target == "host" or version == AWS_PYTHON
    wheels = _AWS_WHEELS if target == "aws" else []
    recipe = repr((LOCK.read_text(), wheels, sysconfig.get_platform(), version, compiled))
    folder = ROOT / "build" / f"layer-{target}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pip = "-m pip install --quiet --no-compile --no-deps --only-binary=:all: --require-hashes"
    where = ["--requirement", str(LOCK), "--target", str(partial / "python")]
    subprocess.run([sys.executable, *pip.split(), "--disable-pip-version-check", *where, *wheels], check=True)
    for unused in ("bin", "*.dist-info"):
        for path in (partial / "python").glob(unused):
            shutil.rmtree(path)
    if compiled:
        compileall.compile_dir(
            partial / "python", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    partial.rename(folder)
    return folder


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(dependency_layer("aws" if name == "aws" else "host"))
