"""Merges that are held up half way until a test has done what it came for."""
import contextlib

from support import process
from support.chainctl import finish
from support.qmp import QmpError

SLOW = 64 * 1024  # bytes a second


def await_jobs(vm, count, status=None):
    """The ids of so many jobs, once they are there and (where given) all are in that status."""
    def found():
        jobs = vm.monitor().execute("query-jobs")
        return len(jobs) == count and all(status in (None, job["status"]) for job in jobs)

    process.wait_until(found, 60, f"{count} jobs {status or ''}")
    return sorted(job["id"] for job in vm.monitor().execute("query-jobs"))


def unleash(vm):
    """All jobs of a VM lose their limit."""
    for job in vm.monitor().execute("query-block-jobs"):
        with contextlib.suppress(QmpError):  # it has just ended
            vm.monitor().execute("block-job-set-speed", device=job["device"], speed=0)


@contextlib.contextmanager
def held_up(ctl, vm, *words, count=1):
    """The merge of these words runs inside the block, slowly; `.result` is there once it has ended behind it."""
    held = _Held(ctl.start(*words, "--speed", str(SLOW)), vm)
    try:
        await_jobs(vm, count, "running")
        yield held
    finally:
        held.end()


class _Held:
    def __init__(self, started, vm):
        self.started, self.vm, self.result = started, vm, None

    def end(self):
        """Lets it run to its end. Returns the Result."""
        if self.result is None:
            if self.vm.process and self.vm.process.poll() is None:
                unleash(self.vm)
            self.result = finish(self.started)
        return self.result
