"""A VM moves to another host while it runs, its disks and its history with it: the recipe of docs/moving.md.

The other host is a mount namespace, in which the images' folder is another one: what runs there finds its own images
at the same paths. It has a state folder of its own.
"""
import os
import shutil

import pytest

from support import disks, ledger, nbd, process
from support.chainctl import Chainctl
from support.guest import Guest

pytestmark = pytest.mark.time_limit(180)


class OtherHost:
    """Where `here` is `there`."""

    def __init__(self, here, there, state):
        enter = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
        self.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", enter, "sh", there, here]
        self.ctl = Chainctl(state)

    def ok(self, *words):
        return self.ctl.ok(*words, prefix=self.prefix)


class Arriving(Guest):
    """A guest whose QEMU runs on the other host, and waits for its memory."""

    def __init__(self, host, *args, **options):
        super().__init__(*args, **options)
        self.host, self.migration = host, self.folder / "migration"

    def command_line(self, monitor_fd):
        return [*self.host.prefix, *super().command_line(monitor_fd), "-incoming", f"unix:{self.migration}"]


@pytest.fixture
def hosts(guest_image, tmp_path):
    """(guest, its ctl, the other host): registered, its disks in a folder that the other host has another one for."""
    if os.geteuid():
        pytest.skip("a mount namespace needs root")
    here, there = tmp_path / "images", tmp_path / "images-there"
    here.mkdir(), there.mkdir()
    with Guest(guest_image, here, disks=2) as guest:
        guest.wait_ready().wait_ledger_advance()
        ctl = Chainctl(tmp_path / "state")
        disks.register(ctl, guest, "--agent", f"unix:{guest.agent_socket}")
        yield guest, ctl, OtherHost(here, there, tmp_path / "state-there")


def migrate(guest, to):
    """Until the guest stands still here, and all but its last words are there."""
    monitor = guest.monitor()
    capabilities = [{"capability": "pause-before-switchover", "state": True}]
    monitor.execute("migrate-set-capabilities", capabilities=capabilities)
    monitor.execute("migrate", uri=f"unix:{to}")
    process.wait_until(lambda: monitor.execute("query-migrate")["status"] == "pre-switchover", 60, "the guest to pause")


def test_running_vm_moves_with_its_disks_and_its_history(hosts, guest_image, tmp_path):
    guest, ctl, other = hosts
    here, there = guest.images_folder, tmp_path / "images-there"
    ctl.ok("snapshot", "vm", "move")
    for path in guest.images.values():  # frozen: any tool will do
        shutil.copy(path, there)
    moving = {name: here / f"{name}.move.qcow2" for name in guest.images}
    port = nbd.free_port()
    receive = ["receive", "--listen", f"127.0.0.1:{port}", "--to", here]
    for name, path in guest.images.items():
        receive += ["--disk", f"{name}.move=128M", "--backing", f"{name}.move={path}"]
    with other.ctl.start(*receive, prefix=other.prefix, json_output=False) as server:
        assert all(server.stdout.readline().startswith("ready:") for _ in moving)
        ctl.ok("mirror", "vm", "--nbd", f"127.0.0.1:{port}/%d.move", "--sync", "top", "--follow")
        with Arriving(other, guest_image, there, moving) as arrived:
            migrate(guest, arrived.migration)
            told = guest.ledger_position()
            op = ctl.ok("jobs", "vm")["jobs"][0]["op"]
            done = ctl.ok("job", "complete", "vm", op)
            assert {mirror["state"] for mirror in done["mirrors"]} == {"finished"}
            server.terminate()
            assert server.wait(20) == 0
            guest.monitor().execute("migrate-continue", state="pre-switchover")
            process.wait_until(lambda: arrived.monitor().execute("query-status")["running"], 30, "the guest to go on")
            assert arrived.wait_ledger_advance() > told
            assert guest.monitor().execute("query-status")["status"] == "postmigrate"
            (tmp_path / "vm.json").write_text(ctl.run("vm", "export", "vm", json_output=False).out)
            guest.kill()
            other.ok("vm", "import", tmp_path / "vm.json")
            other.ok("vm", "set", "vm", "--qmp", arrived.qmp, "--agent", f"unix:{arrived.agent_socket}")
            assert other.ok("check", "vm")["problems"] == []
            taken = other.ok("snapshot", "vm", "arrived", "--quiesce", "require")["snapshot"]
            assert taken["consistency"] == "filesystem"
            assert [one["name"] for one in other.ok("list", "vm")["snapshots"]] == ["move", "arrived"]
            last = [ledger.read(there / f"{name}.move.qcow2") for name in guest.images]
            assert 0 <= last[0] - last[1] <= 1 and last[1] > told
