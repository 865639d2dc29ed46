"""Not only root: a user with a QEMU of their own, root with a QEMU that is another user's, and the members of a group
that share one database."""
import grp
import os
import stat

import pytest

from support import disks, images
from support.users import NOBODY, ChainctlOf, QemuOf, needs_root, open_folder

pytestmark = needs_root

GROUP = grp.getgrnam("games")  # of every system; nothing is theirs
MEMBER, OTHER = 4242, 4243


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class Own(QemuOf):
    user = (MEMBER, MEMBER)


@pytest.fixture
def home():
    """Of the user MEMBER."""
    with open_folder((MEMBER, MEMBER)) as made:
        yield made


def image(folder, uid, gid, file_mode=0o600):
    path = images.create(folder / "vda.qcow2", "8M")
    os.chown(path, uid, gid)
    path.chmod(file_mode)
    return path


# ---- a user, and nobody else ----


def test_user_with_their_own_qemu_has_everything_in_their_home(home):
    state = home / ".local/state/chainctl"
    ctl = ChainctlOf(home, state, MEMBER, MEMBER)
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
        disks.register(ctl, vm)
        vm.qemu_io("vda", "write -P 1 0 64k")
        taken = ctl.ok("snapshot", "vm", "one")
        assert taken["warnings"] == []
        vm.qemu_io("vda", "write -P 2 64k 64k")
        assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one"]
        assert [len(disk["images"]) for disk in ctl.ok("tree", "vm")["disks"]] == [2]
        assert ctl.ok("check", "vm")["problems"] == []
        assert ctl.ok("recover")["recovered"] == [] and len(ctl.ok("log", "vm")["operations"]) == 1
        vm.kill()
        ctl.ok("snapshot", "vm", "two")
        path = ctl.ok("path", "vm", "vda")["path"]
        told = ctl.run("exec", "vm", "--", "echo", "{vda}", json_output=False)
        assert told.out == f"driver=qcow2,file.driver=file,file.filename={path}\n"
        vm.arguments = disks.blockdev("vda", path)
        vm.start()
        vm.qemu_io("vda", "read -P 1 0 64k", "read -P 2 64k 64k")
        assert ctl.ok("check", "vm")["problems"] == []
        ctl.ok("vm", "remove", "vm")
    for made in home.rglob("*"):
        assert (made.stat().st_uid, made.stat().st_gid) == (MEMBER, MEMBER), made
    assert mode(state) == 0o700 and mode(state / "chainctl.db") == 0o600


def test_user_finds_their_state_without_being_told(home):
    ctl = ChainctlOf(home, home / ".local/state/chainctl", MEMBER, MEMBER)
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
        drop_state = ["/bin/sh", "-c", 'b=$1; shift 3; exec "$b" "$@"', "sh"]
        ctl.ok("vm", "add", "vm", "--qmp", vm.qmp, prefix=drop_state)
        assert [entry["name"] for entry in ctl.ok("vm", "list")["vms"]] == ["vm"]


def test_image_of_another_user_in_a_folder_of_ones_own_is_refused_or_said(home):
    """A user cannot give a file away: the overlay is their own, and that is said."""
    ctl = ChainctlOf(home, home / "state", MEMBER, MEMBER)
    with Own(disks.blockdev("vda", image(home, NOBODY, NOBODY, 0o666))) as vm:
        disks.register(ctl, vm)
        taken = ctl.ok("snapshot", "vm", "one")
        assert [warning["code"] for warning in taken["warnings"]] == ["owner-differs"]
        assert os.stat(taken["active"][0]["after"]).st_uid == MEMBER


def test_monitor_that_may_not_be_used_is_said(home):
    with open_folder((OTHER, OTHER)) as elsewhere:
        other = ChainctlOf(elsewhere, elsewhere / "state", OTHER, OTHER)
        with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
            error = other.fails(4, "vm", "add", "vm", "--qmp", vm.qmp)
            assert "ermission denied" in error["message"] and str(vm.qmp) in error["message"]


# ---- root, and a QEMU that is not root's ----


def test_root_with_a_qemu_of_its_own_user(chainctl, home):
    ctl = chainctl()
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER, 0o640))) as vm:
        disks.register(ctl, vm)
        vm.qemu_io("vda", "write -P 1 0 64k")
        taken = ctl.ok("snapshot", "vm", "one")
        assert taken["warnings"] == []
        made = os.stat(taken["active"][0]["after"])
        assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (MEMBER, MEMBER, 0o640)
        vm.kill()
        vm.arguments = disks.blockdev("vda", ctl.ok("path", "vm", "vda")["path"])
        vm.start()
        vm.qemu_io("vda", "read -P 1 0 64k", "write -P 2 0 64k")
        assert ctl.ok("check", "vm")["problems"] == []


def test_shut_off_vm_of_another_user_stays_theirs(chainctl, home):
    ctl = chainctl()
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
        disks.register(ctl, vm)
        vm.kill()
        after = ctl.ok("snapshot", "vm", "one")["active"][0]["after"]
        assert (os.stat(after).st_uid, mode(after)) == (MEMBER, 0o600)
        vm.arguments = disks.blockdev("vda", after)
        vm.start()
        vm.qemu_io("vda", "write -P 2 0 64k", "read -P 2 0 64k")


# ---- a group ----


@pytest.fixture
def shared(chainctl, home):
    """(root's chainctl, a member's, an outsider's), all with one state folder and one configuration."""
    configuration = home.parent / "chainctl.conf"
    configuration.write_text(f"[state]\ngroup={GROUP.gr_name}\n")
    configuration.chmod(0o644)
    env = {"CHAINCTL_CONFIG": str(configuration)}
    state = home.parent / "state"
    users = [ChainctlOf(home, state, uid, uid, groups, env=env) for uid, groups in ((MEMBER, [GROUP.gr_gid]), (OTHER, []))]
    for user in users:
        user.env |= env
    return chainctl(state, env=env), *users


def test_member_of_the_group_runs_verbs_with_their_own_qemu(shared, home):
    root, member, _ = shared
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
        disks.register(root, vm)
        vm.qemu_io("vda", "write -P 1 0 64k")
        for name, ctl in (("one", member), ("two", root), ("three", member)):
            assert ctl.ok("snapshot", "vm", name)["warnings"] == []
        for ctl in (root, member):
            assert [entry["name"] for entry in ctl.ok("list", "vm")["snapshots"]] == ["one", "two", "three"]
            assert ctl.ok("check", "vm")["problems"] == []
        assert [op["by"] for op in member.ok("log", "vm")["operations"]][1] == "root"
        vm.qemu_io("vda", "read -P 1 0 64k")
        vm.kill()
        told = member.run("exec", "vm", "--", "echo", "{vda}", json_output=False)
        assert told.status == 0 and "vda.three.qcow2" in told.out
        member.ok("vm", "remove", "vm")


def test_member_registers_a_vm_where_root_has_one(shared, home):
    root, member, _ = shared
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
        disks.register(root, vm, name="first")
        root.ok("vm", "remove", "first")
        disks.register(member, vm)
        assert root.ok("snapshot", "vm", "one")["warnings"] == []


def test_modes_are_the_groups_and_no_more(shared, home):
    root, member, outsider = shared
    old = os.umask(0o077)
    try:
        with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
            disks.register(root, vm)
            root.ok("snapshot", "vm", "one")
            member.ok("snapshot", "vm", "two")
            assert outsider.fails(1, "list", "vm")["code"]
    finally:
        os.umask(old)
    state = root.state_dir
    modes = {path.relative_to(state).as_posix(): (mode(path), path.stat().st_gid) for path in [state, *state.rglob("*")]}
    gid = GROUP.gr_gid
    assert modes == {".": (0o750, gid), "locks": (0o2770, gid), "locks/vm.lock": (0o660, gid),
                     **{f"chainctl.db{suffix}": (0o660, gid) for suffix in ("", "-wal", "-shm")}}  # fmt: skip


def test_state_folder_from_before_is_opened_to_the_group(shared, chainctl, home):
    root, member, _ = shared
    alone = chainctl(root.state_dir)
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
        disks.register(alone, vm)
        alone.ok("snapshot", "vm", "one")
        assert mode(root.state_dir) == 0o700 and mode(root.state_dir / "chainctl.db-wal") == 0o600
        member.fails(1, "list", "vm")
        root.ok("snapshot", "vm", "two")
        assert len(member.ok("list", "vm")["snapshots"]) == 2
        member.ok("snapshot", "vm", "three")


def test_link_in_place_of_a_lock_is_not_followed(shared, home):
    """Who may write to the locks may not have root write to another file by that."""
    root, _, _ = shared
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
        disks.register(root, vm)
        victim = home.parent / "victim"
        victim.write_text("precious")
        (root.state_dir / "locks").mkdir(exist_ok=True)
        (root.state_dir / "locks/vm.lock").unlink(missing_ok=True)
        (root.state_dir / "locks/vm.lock").symlink_to(victim)
        assert "vm.lock" in root.fails(1, "snapshot", "vm", "one")["message"]
        assert victim.read_text() == "precious"


def test_group_that_is_none_ends_every_command(chainctl, tmp_path):
    (tmp_path / "conf").write_text("[state]\ngroup=no-such-group\n")
    ctl = chainctl(env={"CHAINCTL_CONFIG": str(tmp_path / "conf")})
    error = ctl.fails(2, "vm", "list")
    assert error["code"] == "bad-configuration" and "no-such-group" in error["message"]


def test_without_the_key_everything_is_the_owners(chainctl, home):
    ctl = chainctl(home.parent / "state")
    with Own(disks.blockdev("vda", image(home, MEMBER, MEMBER))) as vm:
        disks.register(ctl, vm)
        ctl.ok("snapshot", "vm", "one")
    assert all(mode(path) & 0o077 == 0 for path in [ctl.state_dir, *ctl.state_dir.rglob("*")])
