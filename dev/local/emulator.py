"""The AWS emulator: ministack in a process of its own, with `corrections`, `redrive` and `metadata`.

``python -m dev.local.emulator`` serves until SIGTERM or SIGINT, with the environment that `Emulator` gives it.
"""

import asyncio
import contextlib
import os
import signal
import sys
import traceback
import urllib.request
from pathlib import Path

from dev.local import ROOT
from dev.local.processes import Child, Server
from dev.local.watchdog import remove_folder

# Version 1 of the AWS CLI sends calls of SQS to AWS itself, whatever AWS_ENDPOINT_URL says, in every region for which
# it knows an endpoint from before 2014 (awscli/customizations/overridesslcommonname.py). In this one it does not.
REGION = "eu-central-2"
ACCOUNT = "000000000000"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test"}

_MACHINE = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
"""What the emulator sees of this program's environment; functions see the emulator's."""


class Emulator(Server):
    """One emulator in a process of its own; its data is lost when it stops."""

    name, log_name = "The emulator", "emulator.log"

    def __init__(
        self,
        folder: Path,
        *,
        auth: bool = False,
        wait_scale: float = 1.0,
        logs: Path | None = None,
    ) -> None:
        """Prepare an emulator with its temporary files in ``folder``; it is started by `start`.

        With ``auth`` the roles of Lambda functions are enforced. ``wait_scale`` is a factor for Step
        Functions' waits and retry intervals; 0 skips them.
        """
        super().__init__(folder, logs=logs)
        self.endpoint_url = f"http://127.0.0.1:{self.port}"
        self._settings = {
            "GATEWAY_PORT": str(self.port),
            "AUTH": str(auth).lower(),
            "SFN_WAIT_SCALE": str(wait_scale),
            "LOG_LEVEL": "INFO",
            "MINISTACK_REGION": REGION,
            "MINISTACK_HOST": "127.0.0.1",  # in the URLs of queues; localhost may resolve to another address
            "SFTP_ENABLED": "0",  # this and the next would listen on ports that two emulators can't share
            "IOT_MTLS_ENABLED": "0",
            "TMPDIR": str(self._folder / "tmp"),
            "STATE_DIR": str(self._folder / "tmp" / "state"),
            "TZ": ":UTC",  # Lambda's
        }

    def _run(self) -> Child:
        (self._folder / "tmp").mkdir(exist_ok=True)
        env = {name: os.environ[name] for name in _MACHINE if name in os.environ} | self._settings
        command = [sys.executable, "-m", "dev.local.emulator"]
        return Child(self.name, command, log=self._log, env=env, cwd=ROOT)

    def _answers(self) -> bool:
        health = f"{self.endpoint_url}/_ministack/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=30):
            return True
        return False

    def stop(self) -> None:
        """End the emulator and its Lambda workers, and remove its files; harmless if it has ended."""
        super().stop()
        remove_folder(self._folder / "tmp")


def main() -> None:
    """Serve on the loopback interface until SIGTERM or SIGINT."""
    # Ministack reads its settings from the environment when it is imported.
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app
    from ministack.core import lambda_runtime

    from dev.local import corrections, metadata, redrive

    corrections.apply()
    redrive.install()
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['GATEWAY_PORT']}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 0.2
    config.loglevel = os.environ["LOG_LEVEL"]

    async def wait_for_signal() -> None:
        received = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, received.set)
        await received.wait()
        await asyncio.to_thread(lambda_runtime.reset)  # or the server waits for running functions

    status = 1
    try:
        asyncio.run(serve(metadata.beside(app.app), config, shutdown_trigger=wait_for_signal))
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        lambda_runtime.reset()  # an execution may have invoked a function meanwhile
        sys.stdout.flush()
        os._exit(status)  # waiting threads would keep the process alive


if __name__ == "__main__":
    main()
