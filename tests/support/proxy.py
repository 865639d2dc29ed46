"""Stands between the program under test and a socket of QEMU's: writes down every command, and can step in.

Several proxies may share one log, which then tells the order in which commands went to monitor and agent. The peer
that the program sees is this process, not QEMU: what it learns from QEMU's pid it does not learn here.
"""
import contextlib
import json
import socket
import threading

from support.qmp import connect_unix


class Proxy:
    """`with Proxy(folder / "qmp", vm.qmp, log) as proxy:` – log gets (name, command) for every command.

    before(command, document), where given, is called before a command is passed on, and after(command) before the
    answer to one is: where it says False the answer is kept back. Both run in other threads.
    """

    def __init__(self, path, target, log, before=None, after=None):
        self.path, self.target, self.log, self.before, self.after = path, target, log, before, after
        self._asked = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._open, self._threads = [], []

    def __enter__(self):
        self._listener.bind(str(self.path))
        self._listener.listen(5)
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.path.unlink()
        for thread in self._threads:
            thread.join(5)

    def hang_up(self):
        """Ends the connections that are there, as a QEMU that lives on would; new ones are welcome."""
        for client in self._open[::2]:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _start(self, work, *args):
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = connect_unix(self.target, 60)
                server.settimeout(None)
                self._open += [client, server]
                left = threading.Event()
                self._start(self._pump, client, server, self._tell, left.set)
                self._start(self._pump, server, client, self._hear, lambda left=left: left.is_set() or self._die())

    def _pump(self, source, sink, tell, at_end):
        """Until one of both is gone; at_end is called where that is the source."""
        with contextlib.suppress(OSError):
            for line in self._lines(source, at_end):
                if tell(line) is not False:
                    sink.sendall(line + b"\n")
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _lines(self, source, at_end):
        waiting = b""
        with contextlib.suppress(OSError):
            while received := source.recv(65536):
                *lines, waiting = (waiting + received).split(b"\n")
                yield from lines
        at_end()

    def _die(self):
        """The target hung up before its client did: nobody listens here any more either, as with a dead QEMU."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _tell(self, line):
        document = json.loads(line.lstrip(b"\xff"))
        self.log.append((self.path.name, document["execute"]))
        self._asked[document.get("id")] = document["execute"]
        if self.before:
            self.before(document["execute"], document)

    def _hear(self, line):
        if self.after is None or not line.startswith(b"{"):
            return True
        document = json.loads(line)
        return "id" not in document or self.after(self._asked.get(document["id"]))
