"""The dependency layer: wheels from the lock, unpacked without Docker, for AWS or for this machine."""

import compileall
import hashlib
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from .sections import CERTIFICATES, certificate
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
    aws = target == "aws"
    requirements = needed(LOCK.read_text(), _aws_environment(python) if aws else {})
    wheels = _aws_wheels(python) if aws else []
    here = "" if aws else f"{sysconfig.get_platform()} {sys.version_info[:2]}"
    ingredients = repr((requirements, wheels, here, _OF_THIS_MACHINE))
    folder = CACHE / f"layer-{target}-{hashlib.sha256(ingredients.encode()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    partial = folder.with_suffix(f".{os.getpid()}.partial")
    _unpack(partial / "python", requirements, wheels)
    if not aws:
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


def certificates(given: Sequence[str]) -> Path:
    """Return a folder with these files of root certificates.

    Raises:
        ValueError: two of them have the same name, which is all that the functions know of them.
    """
    files = {certificate(one).resolve() for one in given}
    if all(file.parent == CERTIFICATES for file in files):
        return CERTIFICATES
    if len({file.name for file in files}) < len(files):
        raise ValueError(f"sslRootCert: {' and '.join(map(str, sorted(files)))} must have different names")
    content = hashlib.sha256(repr(sorted((file.name, file.read_bytes()) for file in files)).encode())
    folder = CACHE / f"certificates-{content.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return folder


def needed(lock: str, environment: Mapping[str, str]) -> str:
    """Return the requirements of a lock that an environment needs, without their markers.

    pip would evaluate the markers for the interpreter that runs it, whatever ``--python-version`` says.

    Args:
        lock: pinned requirements with hashes.
        environment: values of markers that differ from those of the running interpreter.
    """
    kept = []
    for entry in re.split(r"\n(?=\S)", lock):
        head, continued, hashes = entry.partition("\\\n")
        if head.startswith("#"):
            continue
        requirement = Requirement(head)
        if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
            requirement.marker = None
            kept.append(f"{requirement} {continued}{hashes}")
    return "\n".join(kept)


def _unpack(folder: Path, requirements: str, wheels: list[str]) -> None:
    """Unpack the wheels of requirements into a folder, without what depends on the interpreter."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / "requirements.txt"
    file.write_text(requirements)
    pip = "-m pip install --quiet --no-compile --no-deps --only-binary=:all: --require-hashes"
    where = ["--requirement", str(file), "--target", str(folder)]
    subprocess.run([sys.executable, *pip.split(), "--disable-pip-version-check", *where, *wheels], check=True)
    file.unlink()
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


def _aws_environment(python: str) -> dict[str, str]:
    """Return the values of every marker on Lambda; the patch release is Lambda's own choice."""
    release = f"{python}.0"
    return {
        **{"implementation_name": "cpython", "implementation_version": release, "os_name": "posix"},
        **{
            "platform_machine": "aarch64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
        },
        **{"platform_system": "Linux", "platform_version": "", "python_full_version": release},
        **{"python_version": python, "sys_platform": "linux"},
    }


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(dependency_layer("aws" if name == "aws" else "host"))
