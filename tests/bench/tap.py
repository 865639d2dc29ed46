"""Listens in on a channel: on an agent's, when the answer to the freeze came by, and when the thaw did; on a monitor's,
when the last job said that it is ready, and when the first one was told to complete.

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

READY, COMPLETE = b'"BLOCK_JOB_READY"', b'"job-complete"'
FREEZE, THAW = b'"guest-fsfreeze-freeze"', b'"guest-fsfreeze-thaw"'


class Tap:
    """`with Tap(path, target) as tap:` – a client of `path` speaks to `target`; tap.switch() is the last window."""

    def __init__(self, path, target, watch=None):
        self.path, self.target, self.watch = path, target, watch or freezes

    def __enter__(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        os.chmod(self.path, 0o777)
        listener.listen(4)
        self._told, told = multiprocessing.get_context("fork").Pipe(duplex=False)
        self._process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(listener, self.target, told, self.watch), daemon=True)
        self._process.start()
        listener.close()
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.join()
        self.path.unlink(missing_ok=True)

    def switch(self):
        """Milliseconds of the window not yet asked about: from the answer to the freeze until the thaw was sent, say."""
        assert self._told.poll(20), "none came by"
        return self._told.recv()


def _serve(listener, target, told, watch):
    while True:
        client, _ = listener.accept()
        with contextlib.suppress(OSError), client, connect_unix(target, 20) as server:  # a peer that is gone: the next
            server.settimeout(None)
            _pass_on(client, server, watch(lambda began, ended: told.send((ended - began) * 1000)))


def _pass_on(client, server, see):
    while True:
        for source in select.select([client, server], [], [])[0]:
            received = source.recv(65536)
            now = time.monotonic()
            if not received:
                return
            (server if source is client else client).sendall(received)
            see(received, now, source is client)


def freezes(tell):
    """What sees an agent's bytes: from the answer to the freeze to the thaw."""
    frozen = asked = None

    def see(received, now, from_client):
        nonlocal frozen, asked
        if from_client:
            if THAW in received and frozen:
                tell(frozen, now)
                frozen = None
            asked = FREEZE in received or (asked and not frozen)
        elif asked and not frozen and _is_count(received):
            frozen, asked = now, False

    return see


def pivots(tell):
    """What sees a monitor's bytes: from the last job that is ready to the first that is told to complete."""
    ready = None

    def see(received, now, from_client):
        nonlocal ready
        if not from_client and READY in received:
            ready = now
        elif from_client and COMPLETE in received and ready:
            tell(ready, now)
            ready = None

    return see


def _is_count(received):
    """Whether this is a freeze's answer: a number of file systems."""
    try:
        return isinstance(json.loads(received.split(b"\n")[0].lstrip(b"\xff"))["return"], int)
    except (ValueError, KeyError):
        return False
