"""The AWS emulator: ministack in a process of its own, with `corrections` and with `redrive`.

``python -m dev.local.emulator`` serves until SIGTERM or SIGINT. It reads these variables and no others:
GATEWAY_PORT (default 4566), AUTH ("true" enforces the roles of Lambda functions), SFN_WAIT_SCALE (default 1,
a factor for Step Functions' waits and retry intervals), LOG_LEVEL and STATE_DIR.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import traceback
import urllib.request
from pathlib import Path
from typing import Self

from dev.local import ROOT
from dev.local.processes import Child, Server, require_free_port

REGION = "us-east-1"
ACCOUNT = "000000000000"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test"}

_SETTINGS = ("GATEWAY_PORT", "AUTH", "SFN_WAIT_SCALE", "LOG_LEVEL", "STATE_DIR")
_MACHINE = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
# Listeners on fixed ports that this project has no use for, and that two emulators would fight about; and the
# name in queue URLs, which is localhost otherwise, and may then mean another address.
_FIXED = {"SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0", "MINISTACK_HOST": "127.0.0.1"}


class Emulator(Server):
    """One emulator in a process of its own; what it holds is gone when it stops."""

    name = "The emulator"

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        auth: bool = False,
        wait_scale: float = 1.0,
        logs: Path | None = None,
    ) -> None:
        """Prepare an emulator that keeps its temporary files in ``folder``; nothing runs before `start`.

        With ``auth`` the roles of Lambda functions are enforced. Step Functions' waits and retry intervals
        are multiplied with ``wait_scale``; 0 skips them.
        """
        super().__init__(folder, port=port, log=(logs or folder) / "emulator.log")
        self.endpoint_url = f"http://127.0.0.1:{self.port}"
        self._settings = {
            "GATEWAY_PORT": str(self.port),
            "AUTH": str(auth).lower(),
            "SFN_WAIT_SCALE": str(wait_scale),
            "LOG_LEVEL": "INFO",
            "TMPDIR": str(self._folder / "tmp"),
            "STATE_DIR": str(self._folder / "tmp" / "state"),
        }

    def launch(self) -> None:
        """Start the emulator without waiting for it.

        Raises:
            ChildFailed: the port is taken.
        """
        require_free_port(self.port, name="The emulator")
        (self._folder / "tmp").mkdir(parents=True, exist_ok=True)
        env = {name: os.environ[name] for name in _MACHINE if name in os.environ} | self._settings
        command = [sys.executable, "-m", "dev.local.emulator"]
        self._child = Child("The emulator", command, log=self._log, env=env, cwd=ROOT)

    def wait_ready(self) -> None:
        """Return once requests are answered.

        Raises:
            ChildFailed: the emulator ended instead; with the end of its log.
        """
        self.child.wait_ready(lambda: healthy(self.endpoint_url))

    def start(self) -> Self:
        """Start the emulator and wait until it answers; raises as `launch` and `wait_ready` do."""
        self.launch()
        self.wait_ready()
        return self

    def stop(self) -> None:
        """End the emulator and every Lambda worker of its, and remove its files; harmless if it has ended."""
        if self._child is not None:
            self._child.stop()
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)


def healthy(endpoint_url: str) -> bool:
    """Tell whether an emulator answers at ``endpoint_url`` within a second."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{endpoint_url}/_ministack/health", timeout=1):
        return True
    return False


def main() -> None:
    """Serve on the loopback interface until SIGTERM or SIGINT."""
    given = {name: os.environ[name] for name in (*_MACHINE, *_SETTINGS) if name in os.environ}
    os.environ.clear()
    os.environ.update(given | _FIXED)

    # Ministack reads its settings from the environment as it is imported.
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app
    from ministack.core import lambda_runtime

    from dev.local import corrections, redrive

    corrections.apply()
    redrive.install()
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ.get('GATEWAY_PORT', '4566')}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 0.2
    config.loglevel = os.environ.get("LOG_LEVEL", "INFO")

    async def told_to_stop() -> None:
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        await told.wait()
        await asyncio.to_thread(
            lambda_runtime.reset
        )  # or the server waits for the calls it is in the midst of

    status = 1
    try:
        asyncio.run(serve(app.app, config, shutdown_trigger=told_to_stop))
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        lambda_runtime.reset()  # an execution may have called another function meanwhile
        sys.stdout.flush()
        os._exit(status)  # threads that wait for something would keep the process


if __name__ == "__main__":
    main()
