"""Which system calls a process makes, by strace: for "the disk under the guest did not change its ways".

`run` traces a command to its end; `attached` traces a process that runs, a QEMU with all its threads, during a
with-block. A call reads as Call(pid, name, arguments, result); file descriptors carry their paths ("9</tmp/a>").
"""
import contextlib
import pathlib
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass

from support import process

FILE_CALLS = "openat,fallocate,fdatasync,fsync,io_submit,io_uring_enter,pread64,pwrite64,preadv,pwritev,fcntl,ioctl"
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (.*)$")
_UNFINISHED = re.compile(r"^(\d+) +(.*?) ?<unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")


@dataclass(frozen=True)
class Call:
    pid: int
    name: str
    arguments: str
    result: str

    def touches(self, path):
        """Whether the path stands among the arguments, by itself or behind a descriptor."""
        return f"<{path}>" in self.arguments or f'"{path}"' in self.arguments


def run(argv, calls=FILE_CALLS, timeout=60):
    """Runs a command under strace. Returns (its exit status, its calls)."""
    with tempfile.TemporaryDirectory(prefix="strace-") as folder:
        out = pathlib.Path(folder) / "out"
        with process.running([*_strace(out, calls), "--", *argv], stdout=subprocess.DEVNULL) as tracer:
            status = tracer.wait(timeout)
        return status, parse(out.read_text(errors="replace"))


@contextlib.contextmanager
def attached(pid, calls=FILE_CALLS):
    """Traces the process and its threads; the list that it yields is filled at the end of the block."""
    found = []
    with tempfile.TemporaryDirectory(prefix="strace-") as folder:
        out = pathlib.Path(folder) / "out"
        with process.running([*_strace(out, calls), "-p", str(pid)], stderr=subprocess.PIPE, text=True) as tracer:
            told = tracer.stderr.readline()
            assert f"Process {pid} attached" in told, f"strace: {told}"
            yield found
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=60)
        found += parse(out.read_text(errors="replace"))


def parse(text):
    """The calls in strace's output, in the order in which they ended."""
    begun, found = {}, []
    for line in text.splitlines():
        if unfinished := _UNFINISHED.match(line):
            begun[unfinished[1]] = unfinished[2]
            continue
        if resumed := _RESUMED.match(line):
            line = f"{resumed[1]} {begun.pop(resumed[1], '?(')}{resumed[2]}"
        if call := _LINE.match(line):
            found.append(Call(int(call[1]), call[2], call[3], call[4]))
    return found


def _strace(out, calls):
    return [process.program("strace"), "-f", "-y", "-s", "256", "-o", out, "-e", f"trace={calls}"]
