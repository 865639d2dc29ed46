"""Peers that misbehave: a proxy in front of a real monitor that changes what QEMU says, a server that follows a script,
and an agent that speaks the real protocol and says what the test wants.
"""
import contextlib
import json
import pathlib
import socket
import tempfile
import threading

from support.qmp import connect_unix


class Server:
    """A Unix socket that serves one client after the other on a thread; serve(connection) says how."""

    def __init__(self, serve):
        self._serve = serve
        self.folder = tempfile.TemporaryDirectory(prefix="ck-peer-", dir="/tmp")
        self.path = pathlib.Path(self.folder.name) / "socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        self._open = []
        self._ended = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended = True
        for connection in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(60)
        self.folder.cleanup()
        assert not self._thread.is_alive(), "a peer goes on after its test"

    def _accept(self):
        while not self._ended:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            with contextlib.suppress(OSError, ValueError), connection:
                self._serve(connection)


GREETING = b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}\r\n'


def hold(connection):
    """Reads on until the client goes away."""
    while connection.recv(65536):
        pass


def says(*pieces, then_close=False):
    """A peer that says these bytes at once, and then nothing more."""

    def serve(connection):
        for piece in pieces:
            connection.sendall(piece)
        if not then_close:
            hold(connection)

    return Server(serve)


def lines(connection):
    buffer = b""
    while received := connection.recv(65536):
        buffer += received
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            yield line


def scripted_monitor(answer):
    """A monitor that greets; answer(command, request) is a result, an Exception class to close, bytes, or None to be silent."""

    def serve(connection):
        connection.sendall(GREETING)
        for line in lines(connection):
            request = json.loads(line)
            reply = {} if request["execute"] == "qmp_capabilities" else answer(request["execute"], request)
            if reply is ConnectionError:
                return
            if reply is None:
                continue
            if not isinstance(reply, bytes):
                reply = json.dumps({"return": reply, "id": request.get("id")}).encode() + b"\r\n"
            connection.sendall(reply)

    return Server(serve)


def unchanged(_, reply):
    return reply


def proxy(monitor, change=unchanged, refused=(), asked=None):
    """A monitor in front of a real one. change(command, reply) gives the reply to pass on: a document, bytes, None for
    silence, or ConnectionError to close; the request went to QEMU in any case. Commands in `refused` never reach QEMU,
    and fail. `asked` is a list that gets the name of every command.
    """

    def serve(connection):
        with contextlib.closing(connect_unix(monitor, 20)) as real:
            waiting = {}

            def back():
                with contextlib.suppress(OSError, ValueError):
                    for line in lines(real):
                        document = json.loads(line)
                        command = waiting.pop(json.dumps(document.get("id")), None) if "id" in document else None
                        changed = change(command, document) if command else document
                        if changed is ConnectionError:
                            connection.shutdown(socket.SHUT_RDWR)
                            return
                        if changed is not None:
                            connection.sendall(changed if isinstance(changed, bytes) else json.dumps(changed).encode() + b"\r\n")

            thread = threading.Thread(target=back, daemon=True)
            thread.start()
            try:
                for line in lines(connection):
                    request = json.loads(line)
                    if asked is not None:
                        asked.append(request["execute"])
                    if request["execute"] in refused:
                        error = {"class": "GenericError", "desc": "the peer's own words \x1b[31m"}
                        connection.sendall(json.dumps({"error": error, "id": request.get("id")}).encode() + b"\r\n")
                        continue
                    waiting[json.dumps(request.get("id"))] = request.get("execute")
                    real.sendall(line + b"\n")
            finally:
                with contextlib.suppress(OSError):
                    real.shutdown(socket.SHUT_RDWR)
                thread.join(60)

    return Server(serve)


class Agent(Server):
    """A guest agent. answers: {command: result, Exception class to close, bytes as they are, None for silence, or a
    function of the arguments that gives one of these}. What was asked, in order, is in `asked`.
    """

    def __init__(self, answers, before_sync=b""):
        self.answers, self.asked, self.before_sync = answers, [], before_sync
        super().__init__(self._serve_agent)

    def _serve_agent(self, connection):
        for line in lines(connection):
            request = json.loads(line.rpartition(b"\xff")[2])
            command, arguments = request["execute"], request.get("arguments", {})
            self.asked.append(command)
            if command == "guest-sync-delimited" and command not in self.answers:
                connection.sendall(self.before_sync + b"\xff" + json.dumps({"return": arguments["id"]}).encode() + b"\n")
                continue
            answer = self.answers.get(command, b'{"error": {"class": "CommandNotFound", "desc": "no such command"}}\n')
            answer = answer(arguments) if callable(answer) and answer is not ConnectionError else answer
            if answer is ConnectionError:
                return
            if answer is not None:
                connection.sendall(answer if isinstance(answer, bytes) else json.dumps({"return": answer}).encode() + b"\n")
