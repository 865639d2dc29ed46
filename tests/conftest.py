"""What every test may ask for: a guest, a bare QEMU, a chainctl; and what every test is held to.

A test ends within its time (120 s; `@pytest.mark.time_limit(seconds)`) and leaves no process behind, not even one
that went into a session of its own.
"""
import contextlib
import pathlib
import signal
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS))

from support import process  # noqa: E402
from support.chainctl import Chainctl  # noqa: E402
from support.guest import Guest  # noqa: E402
from support.qemu import Qemu  # noqa: E402

TIME_LIMIT = 120
SETUP_LIMIT = 300  # the first one may have to build the guest
GRACE = 2  # for a helper process that is about to end by itself


def pytest_configure(config):
    config.addinivalue_line("markers", f"time_limit(seconds): ends the test after this time (default {TIME_LIMIT})")
    config.addinivalue_line("markers", "once: starts no QEMU and asks none, so that another QEMU makes no difference to it")
    config.addinivalue_line("markers", "xdist_group(name): tests that one worker runs, where there are several")
    process.become_subreaper()


@pytest.fixture(scope="session")
def guest_image():
    """The folder with the built guest."""
    built = subprocess.run([TESTS / "guest/build"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return pathlib.Path(built.stdout.strip())


@pytest.fixture
def guest(guest_image, tmp_path):
    """guest(**options) boots a Guest with its images in tmp_path and waits until it is ready (ready=False: not)."""
    with contextlib.ExitStack() as stack:

        def boot(*args, ready=True, folder=tmp_path, **options):
            booted = stack.enter_context(Guest(guest_image, folder, *args, **options))
            return booted.wait_ready() if ready and not booted.paused else booted

        yield boot


@pytest.fixture
def qemu():
    """qemu([words], **options) starts a Qemu without a guest."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Qemu(*args, **options))


@pytest.fixture
def chainctl(tmp_path):
    """chainctl(**options) is a Chainctl; all of one test share a fresh state directory unless told otherwise."""
    return lambda state_dir=tmp_path / "state", **options: Chainctl(state_dir, **options)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    with time_limit(SETUP_LIMIT, f"preparing {item.name}"):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    marker = item.get_closest_marker("time_limit")
    with time_limit(marker.args[0] if marker else TIME_LIMIT, item.name):
        yield


@contextlib.contextmanager
def time_limit(seconds, what):
    """Raises in what the main thread does at that moment when the block takes longer."""

    def too_long(*_):
        raise TimeoutError(f"{what} took longer than {seconds} s")

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture(autouse=True)
def no_process_survives():
    """Fails the test that leaves a process alive, and ends it. Autouse: it is torn down after all the others."""
    before = set(process.alive_children())
    yield
    left = {pid: words for pid, words in process.alive_children().items() if pid not in before}
    left = {pid: words for pid, words in left.items() if not process.wait_dead(pid, GRACE)}
    for pid in left:
        process.kill_child(pid)
    process.reap_orphans()
    assert not left, f"processes outlived the test: {left}"
