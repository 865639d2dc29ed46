"""A process of QEMU's for one test: its sockets in a short folder, its monitors, its end.

It has two monitors. `qmp` is for the program under test, and made by the process itself, so that its peer is that pid;
`monitor()` is the test's own, on a listening socket that is handed over, so that connecting to it needs no retry.
"""
import pathlib
import shutil
import socket
import tempfile

from support import process
from support.qmp import Qmp


class Monitored:
    """What Qemu and StorageDaemon have in common; each has its own command_line(the test's monitor, as a descriptor)."""

    second_monitor = True

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
        self.qmp, self.qmp_test, self.log = (self.folder / name for name in ("qmp", "qmp-test", "log"))
        self.process = self._monitor = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        """Returns when its monitors answer; it may be started again after its end."""
        assert self.process is None, "it runs"
        for path in (self.qmp, self.qmp_test):
            path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, open(self.log, "ab") as log:
            if self.second_monitor:
                listener.bind(str(self.qmp_test))
                listener.listen(1)
            words = self.command_line(listener.fileno())
            self.process = process.spawn(words, stdout=log, stderr=log, pass_fds=[listener.fileno()])
        try:
            self._await_monitor()
        except OSError as error:
            self.kill()
            raise RuntimeError(f"it does not start: {error}\n{self.log.read_text(errors='replace')}") from None
        return self

    def monitor(self):
        """The test's own monitor, connected; the same one each time."""
        if self._monitor is None:
            self._monitor = Qmp(self.qmp_test)
        return self._monitor

    def kill(self):
        """SIGKILL, as a power cut would; the images stay as they are. Returns when it is gone."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self._forget()

    def close(self):
        """Ends it and removes its folder."""
        if self.process:
            process.end(self.process)
        self._forget()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await_monitor(self):
        self.monitor()

    def _forget(self):
        if self._monitor:
            self._monitor.close()
        self.process = self._monitor = None
