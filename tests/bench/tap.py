"""Listens in on an agent's channel: when the answer to the freeze came by, and when the thaw did.

A process of its own that passes bytes on as they come, so that it takes the same small time from whoever is measured.
"""
import contextlib
import json
import multiprocessing
import os
import select
import socket
import time

from support.qmp import connect_unix

FREEZE, THAW = b'"guest-fsfreeze-freeze"', b'"guest-fsfreeze-thaw"'


class Tap:
    """`with Tap(path, target) as tap:` – a client of `path` speaks to `target`; tap.switch() is the last window."""

    def __init__(self, path, target):
        self.path, self.target = path, target

    def __enter__(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        os.chmod(self.path, 0o777)
        listener.listen(4)
        self._told, told = multiprocessing.get_context("fork").Pipe(duplex=False)
        self._process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(listener, self.target, told), daemon=True)
        self._process.start()
        listener.close()
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.join()
        self.path.unlink(missing_ok=True)

    def switch(self):
        """Milliseconds from the answer to the freeze until the thaw was sent, of the freeze not yet asked about."""
        assert self._told.poll(20), "no freeze and thaw came by"
        return self._told.recv()


def _serve(listener, target, told):
    while True:
        client, _ = listener.accept()
        with contextlib.suppress(OSError), client, connect_unix(target, 20) as server:  # a peer that is gone: the next
            server.settimeout(None)
            _pass_on(client, server, told)


def _pass_on(client, server, told):
    frozen = asked = None
    while True:
        for source in select.select([client, server], [], [])[0]:
            received = source.recv(65536)
            now = time.monotonic()
            if not received:
                return
            (server if source is client else client).sendall(received)
            if source is client:
                if THAW in received and frozen:
                    told.send((now - frozen) * 1000)
                    frozen = None
                asked = FREEZE in received or (asked and not frozen)
            elif asked and not frozen and _is_count(received):
                frozen, asked = now, False


def _is_count(received):
    """Whether this is a freeze's answer: a number of file systems."""
    try:
        return isinstance(json.loads(received.split(b"\n")[0].lstrip(b"\xff"))["return"], int)
    except (ValueError, KeyError):
        return False
