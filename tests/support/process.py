"""Starts processes that cannot outlive the test that started them, and finds the programs that tests use.

A process dies with us (PR_SET_PDEATHSIG); one that our children leave behind comes to us (PR_SET_CHILD_SUBREAPER),
where `alive_children` sees it, even if it has made a session of its own. Only pids that are ours are ever signalled.
"""
import contextlib
import ctypes
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SYS_PIDFD_GETFD = 438  # on every architecture
_libc = ctypes.CDLL(None, use_errno=True)


def program(name):
    """The path of a program; CHAINCTL_TEST_QEMU may name a folder of QEMU binaries that goes first."""
    folder = os.environ.get("CHAINCTL_TEST_QEMU")
    found = (folder and shutil.which(name, path=folder)) or shutil.which(name)
    return found or shutil.which(name, path="/usr/sbin:/sbin") or name


def become_subreaper():
    """Orphans among our descendants become our children, so that none escapes `alive_children`."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(argv, **options):
    """subprocess.Popen of a process that the kernel kills when the thread that called this dies."""
    parent = os.getpid()

    def die_with_parent():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return subprocess.Popen([str(word) for word in argv], preexec_fn=die_with_parent, **options)


def end(process, patience=5):
    """SIGTERM, then SIGKILL; reaped in any case. Returns the exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


@contextlib.contextmanager
def running(argv, **options):
    """spawn for the length of a with-block."""
    process = spawn(argv, **options)
    try:
        yield process
    finally:
        end(process)


def alive_children():
    """{pid: command line} of our children that are no zombies. A thread or a child may end while we look."""
    found = {}
    for task in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for pid in map(int, (task / "children").read_text().split()):
                if is_alive(pid):
                    found[pid] = _command_line(pid)
    return found


def children_with(word):
    """The pids of those of our children, a chainctl's orphans among them, in whose command line the word is."""
    return [pid for pid, words in alive_children().items() if word in words]


def _command_line(pid):
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return "ended"
    return b" ".join(words).decode(errors="replace").strip()


def whereabouts():
    """A line for each descendant of ours, with what it waits for in the kernel: what a test that hangs has to tell."""
    lines, waiting = [], list(alive_children())
    while waiting:
        pid = waiting.pop()
        folder = pathlib.Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            stand = folder.joinpath("wchan").read_text() or "user space"
            lines.append(f"{pid} {_command_line(pid)}: {stand}, {folder.joinpath('syscall').read_text().strip()}")
            for task in folder.joinpath("task").iterdir():
                waiting += map(int, task.joinpath("children").read_text().split())
    return "\n".join(lines)


def reap_orphans():
    """Zombies that came to us as subreaper stay until somebody asks; call it where no Popen is waited for any more."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_child(pid):
    """SIGKILL for a child of ours that nobody else will reap."""
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def is_alive(pid):
    """Whether a process of this number exists and is no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def hang_up(pid, descriptor):
    """Shuts down a socket that a descendant of ours has open, for all who share it."""
    handle = os.pidfd_open(pid)
    try:
        ours = _libc.syscall(SYS_PIDFD_GETFD, handle, descriptor, 0)
        if ours < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        with socket.socket(fileno=ours) as shared:
            shared.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(handle)


def wait_dead(pid, timeout):
    """Waits until the process, ours or not, has died; False where it lives on. Needs no reaping and no polling."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout)[0])
    finally:
        os.close(handle)


def wait_until(condition, timeout, what):
    """The first true value of condition(), asked every 10 ms; for what the kernel offers no way to wait for."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.01)
    return value
