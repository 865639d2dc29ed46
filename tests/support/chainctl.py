"""Runs the program under test as a user's script would: arguments in, exit status and one JSON document out.

The binary is $CHAINCTL, else the one in build/. Each instance has a state directory of its own, and no variable of
the caller's environment that would change what chainctl does reaches it.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
from dataclasses import dataclass

from support import process

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclass
class Result:
    """What a run left: json is None where stdout was not one JSON document."""

    status: int
    out: str
    err: str
    json: dict | None


class Chainctl:
    """`Chainctl(state_dir).ok("snapshot", "vm", "name")["snapshot"]["id"]`"""

    def __init__(self, state_dir, binary=None, env=None):
        self.state_dir = pathlib.Path(state_dir)
        self.binary = binary or os.environ.get("CHAINCTL") or ROOT / "build/tools/chainctl/chainctl"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHAINCTL")}
        self.env = {**inherited, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(env or {})}

    def start(self, *args, prefix=(), json_output=True, **options):
        """The process, running, its output in pipes; prefix is a program to run it under, with its arguments."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        words = [*prefix, self.binary, "--state", self.state_dir, *(["--json"] if json_output else []), *args]
        return process.spawn(words, env=self.env, text=True, encoding="utf-8", errors="surrogateescape", **options)

    def run(self, *args, timeout=60, input=None, **options):
        """Runs to the end; one that takes longer than the timeout is killed, which is an error."""
        options.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
        started = self.start(*args, **options)
        return finish(started, timeout, input)

    def ok(self, *args, **options):
        """Runs; it must succeed. Returns the JSON document."""
        result = self.run(*args, **options)
        assert result.status == 0, describe(args, result)
        assert result.json and result.json["ok"] is True, describe(args, result)
        return result.json

    def fails(self, status, *args, **options):
        """Runs; it must fail with this exit status and say so in one JSON document. Returns its `error`."""
        result = self.run(*args, **options)
        assert result.status == status, describe(args, result)
        assert result.json and result.json["ok"] is False, describe(args, result)
        assert result.json["error"]["code"] and result.json["error"]["message"], describe(args, result)
        return result.json["error"]


def finish(started, timeout=60, input=None):
    """Waits for a process that Chainctl.start gave. Returns its Result."""
    try:
        out, err = started.communicate(input, timeout)
    except BaseException:
        print(process.whereabouts(), file=sys.stderr)
        started.send_signal(signal.SIGKILL)
        started.communicate()
        raise
    return Result(started.returncode, out, err, _one_document(out))


def describe(args, result):
    """A run in words, for the message of a failed assertion."""
    return f"chainctl {' '.join(map(str, args))}\nexit {result.status}\nstdout: {result.out}\nstderr: {result.err}"


def _one_document(text):
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
