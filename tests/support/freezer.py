"""A guest agent for a machine that has no guest. It keeps the state that a guest's file systems would be in, whatever
it says of it: a test replaces what it does or says, and asks afterwards what was true.

Like the real one behind its port it serves one client at a time, one command after the other, and what one client
froze stays frozen for the next.
"""
import contextlib
import json
import socket
import threading
import time

FILE_SYSTEMS = 2


class Refusal(Exception):
    """Raised in place of an answer: the agent's error reply."""


class Silence(Exception):
    """Raised in place of an answer: none."""


class Freezer:
    """`with Freezer(folder / "agent", thaw=lambda agent: 0) as agent:`

    freeze, thaw and status, where given, answer that command; each gets the Freezer, and may say something with
    `send` first. `frozen_s` has the length of every freeze that has ended, `asked` every command.
    """

    def __init__(self, path, freeze=None, thaw=None, status=None):
        self.path, self.asked, self.frozen_s = path, [], []
        self.answers = {
            "guest-fsfreeze-freeze": freeze or Freezer.freeze,
            "guest-fsfreeze-thaw": thaw or Freezer.thaw,
            "guest-fsfreeze-status": status or Freezer.status,
        }
        self._frozen_at = self._listener = self._client = self._thread = None

    def __enter__(self):
        return self.listen()

    def __exit__(self, *_):
        self.leave()

    @property
    def frozen(self):
        return self._frozen_at is not None

    def freeze(self):
        self._frozen_at = self._frozen_at or time.monotonic()
        return FILE_SYSTEMS

    def thaw(self):
        began, self._frozen_at = self._frozen_at, None
        if began:
            self.frozen_s.append(time.monotonic() - began)
        return FILE_SYSTEMS if began else 0

    def status(self):
        return "frozen" if self.frozen else "thawed"

    def send(self, document):
        """Something that nobody has asked for, to the client that is being served."""
        self._client.sendall(json.dumps(document).encode() + b"\n")

    def listen(self):
        """Begins to serve, again after leave(), with the guest as it was left."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._accept, args=[self._listener], daemon=True)
        self._thread.start()
        return self

    def hang_up(self):
        """Ends the connection that is being served; the next client is welcome."""
        with contextlib.suppress(OSError, AttributeError):
            self._client.shutdown(socket.SHUT_RDWR)

    def leave(self):
        """Nobody listens any more. May be called by an answer."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        listener.close()
        self.path.unlink()
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while self._listener is listener:
                self._client, _ = listener.accept()
                with contextlib.suppress(OSError), self._client:
                    self._serve(self._client)

    def _serve(self, client):
        waiting = b""
        while received := client.recv(65536):
            *lines, waiting = (waiting + received).split(b"\n")
            for line in lines:
                request = json.loads(line.rpartition(b"\xff")[2])
                with contextlib.suppress(Silence):
                    client.sendall(self._answer(request["execute"], request.get("arguments", {})) + b"\n")

    def _answer(self, command, arguments):
        self.asked.append(command)
        if command == "guest-sync-delimited":
            return b"\xff" + json.dumps({"return": arguments["id"]}).encode()
        try:
            said = self.answers[command](self) if command in self.answers else {}
        except Refusal as refusal:
            return json.dumps({"error": {"class": "GenericError", "desc": str(refusal)}}).encode()
        return json.dumps({"return": said}).encode()
