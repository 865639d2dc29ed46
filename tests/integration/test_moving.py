"""A VM moves to another host while it runs, its disks and its history with it: what docs/moving.md says, typed as it stands.

Only names are put in: folders, addresses, sizes. QEMU's own command line over there is the test's. The other host is a
mount namespace, in which the images' folder is another one: what runs there finds its own images at the same paths. It
has a state folder of its own.
"""
import json
import os
import pathlib
import re
import subprocess

import pytest

from support import disks, ledger, nbd, process
from support.chainctl import Chainctl
from support.guest import Guest
from support.tls import Tls

pytestmark = pytest.mark.time_limit(180)
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/moving.md"
STEPS = dict(re.findall(r"^\*\*(\d)\. (.*?)(?=^\*\*\d\. |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))


def typed(step):
    """[(host, command line) …] of a step."""
    blocks = re.findall(r"^    (old|new)\$ ((?:.*\\\n)*.*)$", STEPS[str(step)], re.MULTILINE)
    assert blocks, STEPS[str(step)]
    return blocks


def to_qmp(step):
    """The commands for QEMU's monitor of a step."""
    blocks = re.findall(r"^    (\{.*(?:\n     .*)*)$", STEPS[str(step)], re.MULTILINE)
    return [json.loads(line) for line in "\n".join(blocks).replace("\n        ", " ").splitlines()]


class Shell:
    """A terminal on a host; `names` maps what the page calls things to what they are called here."""

    def __init__(self, ctl, folder, name, prefix, names):
        self.ctl, self.prefix, self.names, self.lines = ctl, prefix, names, 0
        (folder / "bin").mkdir(exist_ok=True)
        if not (folder / "bin/chainctl").exists():
            (folder / "bin/chainctl").symlink_to(ctl.binary)
        env = {**ctl.env, "PATH": f"{folder / 'bin'}:{ctl.env['PATH']}", "CHAINCTL_STATE": str(ctl.state_dir)}
        self.log = folder / f"{name}.log"
        with open(self.log, "w") as out:
            self.bash = process.spawn([*prefix, "bash"], env=env, cwd=folder, text=True, stdin=subprocess.PIPE, stdout=out, stderr=out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bash.stdin.close()
        process.end(self.bash)

    def named(self, text):
        for name, value in self.names.items():
            text = text.replace(name, str(value))
        return text

    def wait_for(self, pattern):
        try:
            return process.wait_until(lambda: re.search(pattern, self.log.read_text(), re.MULTILINE), 60, pattern)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log.read_text()}") from None

    def type(self, line):
        """To its end, which has to be a success. Returns what was shown meanwhile."""
        self.lines += 1
        before = len(self.log.read_text())
        self.bash.stdin.write(f"{{ {self.named(line)}\n}} < /dev/null; echo @{self.lines} $?\n")
        self.bash.stdin.flush()
        status = self.wait_for(rf"^@{self.lines} (\d+)$")[1]
        shown = self.log.read_text()[before:].rpartition("@")[0]
        assert status == "0", f"{line}\n{shown}"
        return shown


class Arriving(Guest):
    """A guest whose QEMU runs on the other host, and waits for its memory."""

    def __init__(self, prefix, *args, **options):
        super().__init__(*args, **options)
        self.prefix, self.migration = prefix, self.folder / "migration"

    def command_line(self, monitor_fd):
        return [*self.prefix, *super().command_line(monitor_fd), "-incoming", f"unix:{self.migration}"]


@pytest.fixture
def hosts(guest_image, tmp_path):
    """(guest, {"old": its shell, "new": the other's}): registered as `web`, its images where the other host has others."""
    if os.geteuid():
        pytest.skip("a mount namespace needs root")
    here, there, tls = tmp_path / "images", tmp_path / "images-there", Tls(tmp_path)
    here.mkdir(), there.mkdir()
    ctl, other = Chainctl(tmp_path / "state"), Chainctl(tmp_path / "state-there")
    names = {"new:/srv/web": there, "new:10809": f"localhost:{nbd.free_port()}", "/srv/web": here, "20G": "128M", "50G": "128M"}
    enter = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", enter, "sh", there, here]
    with Guest(guest_image, here, disks=2) as guest:
        guest.wait_ready().wait_ledger_advance()
        disks.register(ctl, guest, "--agent", f"unix:{guest.agent_socket}", name="web")
        with Shell(ctl, tmp_path, "old", (), {**names, "/etc/pki/qemu": tls.client}) as old:
            with Shell(other, tmp_path, "new", prefix, {**names, "/etc/pki/qemu": tls.server}) as new:
                yield guest, {"old": old, "new": new}


def type_step(hosts, number):
    """All of a step's commands. Returns what the last one has shown."""
    for host, line in typed(number):
        shown = hosts[host].type(line)
    return shown


def tell_qemu(guest, number, **given):
    for command in to_qmp(number):
        arguments = {name: given.get(name, value) for name, value in command["arguments"].items()}
        guest.monitor().execute(command["execute"], **arguments)


def wait_status(guest, command, key, value):
    process.wait_until(lambda: guest.monitor().execute(command)[key] == value, 60, f"{command}: {value}")


def test_running_vm_moves_with_its_disks_and_its_history(hosts, guest_image, tmp_path):
    guest, hosts = hosts
    old, new, there = hosts["old"], hosts["new"], tmp_path / "images-there"
    type_step(hosts, 1)
    assert sorted(path.name for path in there.iterdir()) == ["vda.qcow2", "vdb.qcow2"]
    type_step(hosts, 2)
    moving = {name: guest.images_folder / f"{name}.move.qcow2" for name in guest.images}
    for name in moving:
        new.wait_for(f"^ready: {name}.move")
    assert f"file.filename={moving['vda']} " in new.named(STEPS["4"])
    type_step(hosts, 3)
    with Arriving(new.prefix, guest_image, there, moving) as arrived:
        tell_qemu(guest, 5, uri=f"unix:{arrived.migration}")
        wait_status(guest, "query-migrate", "status", "pre-switchover")
        told = guest.ledger_position()
        old.names["OPERATION"] = old.ctl.ok("jobs", "web")["jobs"][0]["op"]
        assert type_step(hosts, 6).split()[-1] == "0"
        tell_qemu(guest, 7)
        wait_status(arrived, "query-status", "running", True)
        assert arrived.wait_ledger_advance() > told
        wait_status(guest, "query-status", "status", "postmigrate")
        guest.kill()
        new.names |= {"/run/web.qmp": arrived.qmp, "/run/web.agent": arrived.agent_socket}
        assert "all is well" in type_step(hosts, 8)
        taken = new.ctl.ok("snapshot", "web", "arrived", "--quiesce", "require", prefix=new.prefix)["snapshot"]
        assert taken["consistency"] == "filesystem"
        assert [one["name"] for one in new.ctl.ok("list", "web")["snapshots"]] == ["move", "arrived"]
        last = [ledger.read(there / f"{name}.move.qcow2") for name in guest.images]
        assert 0 <= last[0] - last[1] <= 1 and last[1] > told
