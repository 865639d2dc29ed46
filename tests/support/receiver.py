"""A `chainctl receive` for one test: the other end of a copy over NBD.

    with Receiver(ctl, folder, "vda=8M", "vdb=8M:raw", timeout=1) as receiver:    on a Unix socket
        receiver.uris["vda"]
        qemu_io(receiver.uris["vda"], "write -P 7 0 64k")
        result = receiver.wait()               its end, once the sender has gone; result.status, result.err
        receiver.interrupt()                   Ctrl-C

listen="127.0.0.1:0" and further words (--backing …) as they are. `nbd` is what `mirror --nbd` takes, without the disk.
"""
import json
import pathlib
import re
import shutil
import signal
import tempfile
import urllib.parse

from support import process
from support.chainctl import finish


class Receiver:
    """Serves when it is entered; ended with the block."""

    def __init__(self, ctl, folder, *disks, listen=None, timeout=1, words=(), **options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ck-", dir="/tmp"))
        self.listen = listen or f"unix:{self.folder / 'nbd'}"
        named = [word for disk in disks for word in ("--disk", disk)]
        self.words = ["receive", "--listen", self.listen, "--to", folder, *named, "--timeout", str(timeout), *words]
        self.process = ctl.start(*self.words, **options)
        self.document = None

    def __enter__(self):
        """Returns when it is served; what it said by then is its document."""
        line = self.process.stdout.readline()
        try:
            self.document = json.loads(line)
            assert self.document["ok"], line
        except (AssertionError, ValueError):
            said = finish(self.process)
            self.__exit__()
            raise RuntimeError(f"{self.words}: exit {said.status}: {line}{said.err}") from None
        return self

    def __exit__(self, *_):
        process.end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def uris(self):
        return {export["disk"]: export["uri"] for export in self.document["exports"]}

    @property
    def paths(self):
        return {export["disk"]: pathlib.Path(export["path"]) for export in self.document["exports"]}

    @property
    def nbd(self):
        """HOST:PORT or unix:PATH."""
        uri = urllib.parse.urlsplit(next(iter(self.uris.values())))
        return f"unix:{urllib.parse.parse_qs(uri.query)['socket'][0]}" if "unix" in uri.scheme else uri.netloc

    @property
    def daemon(self):
        """The pid of its storage daemon."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(pid) for pid in children if re.search("qemu-storage", pathlib.Path(f"/proc/{pid}/comm").read_text()))

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def wait(self, timeout=60):
        """Its end. Returns its Result, of which `out` is what it said after it was served."""
        return finish(self.process, timeout)
