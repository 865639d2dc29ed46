"""A minimal, synchronous client of QEMU's monitor, for the tests' own eyes and hands.

It shares nothing with the program under test. One command at a time; events that arrive meanwhile are kept in
`events` in their order, and are taken from there by `wait_event`. Every wait has a limit.
"""
import contextlib
import json
import os
import pathlib
import socket
import time


class QmpError(Exception):
    """What QEMU, or the agent, answered instead of a result."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error['class']}: {error['desc']}")
        self.error_class, self.desc = error["class"], error["desc"]


def connect_unix(path, timeout):
    """A connected stream socket; the path may be longer than the 107 bytes that an address holds."""
    path = pathlib.Path(path)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


class JsonLines:
    """A socket that carries one JSON document a line, each way."""

    def __init__(self, path, timeout):
        self.timeout = timeout
        self._socket = connect_unix(path, timeout)
        self._buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close()

    def send(self, document, prefix=b""):
        self._socket.settimeout(self.timeout)
        self._socket.sendall(prefix + json.dumps(document).encode() + b"\n")

    def receive_line(self, deadline):
        while b"\n" not in self._buffer:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionResetError("the peer closed the connection")
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def result(self, command, reply):
        if "error" in reply:
            raise QmpError(command, reply["error"])
        return reply["return"]


class Qmp(JsonLines):
    """`with Qmp(path) as monitor: monitor.execute("query-status")`"""

    def __init__(self, path, timeout=60):
        super().__init__(path, timeout)
        self.events = []
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            self.greeting = json.loads(self.receive_line(time.monotonic() + timeout))["QMP"]
            self.execute("qmp_capabilities")
            on_failure.pop_all()

    def execute(self, command, /, timeout=None, **arguments):
        """The command's result. An underscore in an argument's name becomes '-'."""
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self.execute_raw(command, arguments, timeout)

    def execute_raw(self, command, arguments, timeout=None):
        """As execute, with the arguments as QEMU spells them."""
        self.send({"execute": command, "arguments": arguments})
        deadline = time.monotonic() + (timeout or self.timeout)
        while "event" in (reply := json.loads(self.receive_line(deadline))):
            self.events.append(reply)
        return self.result(command, reply)

    def transaction(self, *actions):
        """Each action is (type, {arguments as QEMU spells them})."""
        return self.execute("transaction", actions=[{"type": kind, "data": data} for kind, data in actions])

    def wait_event(self, name, timeout=60, **data):
        """Takes the oldest event of that name whose data has these values, waiting for it if need be."""
        deadline = time.monotonic() + timeout
        while True:
            for position, event in enumerate(self.events):
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    return self.events.pop(position)
            self.events.append(json.loads(self.receive_line(deadline)))

    def chain(self, device):
        """File names of a device's live backing chain, the active image first; by qdev id or BlockBackend name."""
        files = {node["node-name"]: node["file"] for node in self.execute("query-named-block-nodes", flat=True)}
        for statistics in self.execute("query-blockstats"):
            qdev = statistics.get("qdev", "").removeprefix("/machine/peripheral/")
            if device in (qdev.removesuffix("/virtio-backend"), statistics.get("device")):
                return [files[name] for name in _file_nodes(statistics)]
        raise KeyError(device)


def _file_nodes(node):
    """The nodes that hold the data, top first. What a filter is put on shows as its file and as its backing."""
    while node:
        below = node.get("backing", {})
        file = node.get("parent", node)
        if file["node-name"] != below.get("node-name"):
            yield file["node-name"]
        node = below
