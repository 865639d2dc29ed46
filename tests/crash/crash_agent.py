"""A guest agent for a machine that has no guest: it syncs, freezes and thaws, and knows when it did.

Like the real one behind its virtio port it serves one client at a time, and what one client froze stays frozen for
the next. `die()` is the end of its QEMU: connections close, the socket refuses, and nothing is frozen any more. Where
it is `silent`, as in a machine that is paused, what is sent to it is lost. `before_answer`, where given, is called with
each command before that is answered, in another thread.
"""
import contextlib
import json
import socket
import threading

FILE_SYSTEMS = 2


class ScriptedAgent:
    """`with ScriptedAgent(folder / "agent") as agent:` – then start() again after die()."""

    def __init__(self, path):
        self.path = path
        self.frozen, self.silent, self.asked, self.before_answer = False, False, [], None
        self._thawed = threading.Event()
        self._thawed.set()
        self._listener = self._client = self._thread = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.die()

    def start(self):
        """A new machine: listens, thawed."""
        self.path.unlink(missing_ok=True)
        self._set_frozen(False)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, args=[self._listener], daemon=True)
        self._thread.start()
        return self

    def die(self):
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        for connection in (listener, self._client):
            with contextlib.suppress(OSError, AttributeError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        listener.close()
        self._set_frozen(False)

    def wait_thawed(self, timeout):
        """False where it is still frozen then."""
        return self._thawed.wait(timeout)

    def _set_frozen(self, frozen):
        self.frozen = frozen
        (self._thawed.clear if frozen else self._thawed.set)()

    def _serve(self, listener):
        with contextlib.suppress(OSError):
            while self._listener is listener:
                self._client, _ = listener.accept()
                with contextlib.suppress(OSError), self._client:
                    self._talk(self._client)

    def _talk(self, client):
        waiting = b""
        while received := client.recv(65536):
            *lines, waiting = (waiting + received).split(b"\n")
            for line in lines:
                request = json.loads(line.rpartition(b"\xff")[2])
                self.asked.append(request["execute"])
                if self.silent:
                    continue
                answer = self._answer(request["execute"], request.get("arguments", {}))
                if self.before_answer:
                    self.before_answer(request["execute"])
                client.sendall(answer + b"\n")

    def _answer(self, command, arguments):
        if command == "guest-sync-delimited":
            return b"\xff" + json.dumps({"return": arguments["id"]}).encode()
        if command == "guest-fsfreeze-freeze" and self.frozen:
            return json.dumps({"error": {"class": "CommandNotFound", "desc": "agent is in frozen state"}}).encode()
        return json.dumps({"return": self._obey(command)}).encode()

    def _obey(self, command):
        if command == "guest-fsfreeze-status":
            return "frozen" if self.frozen else "thawed"
        if command in ("guest-fsfreeze-freeze", "guest-fsfreeze-thaw"):
            changed = self.frozen != (command == "guest-fsfreeze-freeze")
            self._set_frozen(command == "guest-fsfreeze-freeze")
            return FILE_SYSTEMS if changed else 0
        return {}
