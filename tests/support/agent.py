"""A minimal, synchronous client of the guest agent.

Opening it flushes the agent's parser with 0xFF and throws away, by `guest-sync-delimited`, what the agent still had
to say to an earlier client. The agent's socket serves one client at a time: close it before the program under test
is to use it.
"""
import base64
import json
import random
import time

from support.qmp import JsonLines, QmpError


class Agent(JsonLines):
    """`with Agent(path) as agent: agent.execute("guest-ping")`"""

    def __init__(self, path, timeout=60):
        super().__init__(path, timeout)
        try:
            self._synchronise()
        except BaseException:
            self.close()
            raise

    def execute(self, command, /, timeout=None, **arguments):
        """The command's result. An underscore in an argument's name becomes '-'."""
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.send({"execute": command, "arguments": arguments})
        reply = json.loads(self.receive_line(time.monotonic() + (timeout or self.timeout)))
        return self.result(command, reply)

    def run(self, *argv, timeout=60):
        """Runs a program in the guest and returns its output; it must succeed."""
        argv = [str(word) for word in argv]
        pid = self.execute("guest-exec", path=argv[0], arg=argv[1:], capture_output=True)["pid"]
        deadline = time.monotonic() + timeout
        while not (status := self.execute("guest-exec-status", pid=pid))["exited"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{argv} in the guest")
        if status.get("exitcode") != 0:
            raise QmpError(argv[0], {"class": "GuestExec", "desc": str(status)})
        return base64.b64decode(status.get("out-data", "")).decode(errors="replace")

    def _synchronise(self):
        number = random.getrandbits(31)
        deadline = time.monotonic() + self.timeout
        self.send({"execute": "guest-sync-delimited", "arguments": {"id": number}}, prefix=b"\xff")
        while True:
            answer = self.receive_line(deadline).rpartition(b"\xff")[2]
            if json.loads(answer).get("return") == number:
                return


