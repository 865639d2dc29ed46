"""Where the database lives, who may read it, and what is said when it cannot be used."""
import os
import sqlite3
import stat
import threading

import pytest

from documents import only_document
from support import images

from cli_vm import contents, disk_words

READING = [["vm", "list"], ["list"], ["tree"], ["log"], ["check"], ["doctor"], ["vm", "show", "vm1"], ["list", "vm1"], ["path", "vm1", "vda"],
           ["show", "vm1", "s"], ["guest", "vm1", "ping"]]  # fmt: skip


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def without_state_option(chainctl, *words, **options):
    """A run that has no --state; what it says where."""
    return chainctl.run(*words, prefix=["/bin/sh", "-c", 'b=$1; shift 3; exec "$b" "$@"', "sh"], **options)


def test_what_is_made_is_for_the_owner_alone_whatever_the_umask(vm, chainctl, tmp_path):
    deep = tmp_path / "a/b/state"
    old = os.umask(0)
    try:
        chainctl(deep).ok("vm", "add", "x", "--qmp", vm.qemu.qmp)
    finally:
        os.umask(old)
    assert mode(deep) == 0o700
    for path in deep.rglob("*"):
        assert mode(path) & 0o077 == 0, f"{path}: {mode(path):o}"


def test_mode_of_a_folder_that_exists_is_left_alone(vm, chainctl, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    chainctl(folder).ok("vm", "add", "x", "--qmp", vm.qemu.qmp)
    assert mode(folder) == 0o755
    assert mode(folder / "chainctl.db") & 0o077 == 0


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_reading_verb_makes_no_state_directory(chainctl, tmp_path, words):
    result = chainctl(tmp_path / "none").run(*words)
    assert result.status == (0 if words == ["vm", "list"] else 3), result
    assert not (tmp_path / "none").exists()


def test_vm_remove_and_snapshot_of_nothing_make_no_state_directory(chainctl, tmp_path):
    chainctl(tmp_path / "none").fails(3, "vm", "remove", "vm1")
    chainctl(tmp_path / "none").fails(3, "snapshot", "vm1", "s")
    assert not (tmp_path / "none").exists()


def test_vm_add_that_fails_registers_nothing(chainctl, tmp_path):
    chainctl().fails(4, "vm", "add", "x", "--qmp", tmp_path / "no-socket")
    assert chainctl().ok("vm", "list")["vms"] == []


def test_environment_names_the_state_directory_and_the_option_goes_before_it(vm):
    vm.chainctl.env["CHAINCTL_STATE"] = str(vm.chainctl.state_dir)
    told = without_state_option(vm.chainctl, "vm", "list")
    assert [one["name"] for one in told.json["vms"]] == ["vm1"], told
    vm.chainctl.env["CHAINCTL_STATE"] = "/nowhere"
    assert [one["name"] for one in vm.chainctl.ok("vm", "list")["vms"]] == ["vm1"]


def test_relative_state_directory_is_taken_from_here(vm):
    result = vm.chainctl.run("--state", vm.chainctl.state_dir.name, "vm", "list", cwd=vm.chainctl.state_dir.parent)
    assert [one["name"] for one in result.json["vms"]] == ["vm1"], result


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("variable", ["XDG_STATE_HOME", "HOME"])
def test_state_of_a_user_lies_in_the_home(qemu, chainctl, open_folder, variable):
    home = open_folder / "home"
    home.mkdir()
    binary = open_folder / "chainctl"
    caller = chainctl()
    binary.write_bytes(open(caller.binary, "rb").read())
    binary.chmod(0o755)
    path = images.create(home / "vda.qcow2", "1M")
    made = qemu(disk_words({"vda": path}))
    made.folder.chmod(0o755)
    for name in (home, path, made.qmp):
        os.chown(name, 65534, 65534)
    os.chmod(made.qmp, 0o777)
    caller.binary = binary
    caller.env = {name: value for name, value in caller.env.items() if not name.startswith("XDG")} | {variable: str(home), "HOME": str(home)}
    as_user = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    drop = ["/bin/sh", "-c", 'b=$1; shift 3; exec "$b" "$@"', "sh"]
    listed = caller.run("vm", "list", prefix=as_user + drop)
    assert listed.status == 0 and listed.json["vms"] == [], listed
    assert sorted(entry.name for entry in home.iterdir()) == ["vda.qcow2"], "a reader made something"
    caller.run("vm", "add", "vm1", "--qmp", made.qmp, prefix=as_user + drop)
    expected = home / ("chainctl" if variable == "XDG_STATE_HOME" else ".local/state/chainctl")
    assert (expected / "chainctl.db").exists(), sorted(map(str, home.rglob("*")))
    assert mode(expected) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_state_directory_that_may_not_be_read_is_said(vm, open_folder):
    binary = open_folder / "chainctl"
    binary.write_bytes(open(vm.chainctl.binary, "rb").read())
    binary.chmod(0o755)
    vm.chainctl.binary = binary
    state = open_folder / "state"
    os.rename(vm.chainctl.state_dir, state)
    vm.chainctl.state_dir = state
    result = vm.chainctl.run("vm", "list", prefix=["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert result.status == 1 and str(state) in result.json["error"]["message"], result
    assert "ermission denied" in result.json["error"]["message"]


def test_state_directory_that_cannot_be_made_is_said(vm, chainctl, tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file/below", "/proc/nothing/here"):
        result = chainctl(place).run("vm", "add", "x", "--qmp", vm.qemu.qmp)
        assert result.status in (1, 2) and str(place) in result.json["error"]["message"], result
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file system that is read-only")
def test_state_directory_that_is_read_only_can_be_read_and_a_verb_changes_nothing(vm):
    vm.chainctl.ok("snapshot", "vm1", "old")
    state = vm.chainctl.state_dir
    before = vm.untouched()
    read_only = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", f'mount --bind "{state}" "{state}" && mount -o remount,ro,bind "{state}" && exec "$@"', "sh"]
    probe = vm.chainctl.run("vm", "list", prefix=read_only)
    if "unshare" in probe.err or "mount:" in probe.err:
        pytest.skip(f"no mount namespaces: {probe.err.strip()}")
    assert probe.status == 0 and len(probe.json["vms"]) == 1, probe
    assert len(vm.chainctl.ok("list", "vm1", prefix=read_only)["snapshots"]) == 1
    result = vm.chainctl.run("snapshot", "vm1", "new", prefix=read_only)
    assert result.status == 1 and result.json["error"]["message"], result
    assert vm.untouched() == before


def truncated(database):
    database.write_bytes(database.read_bytes()[:5000])


def cut_to_a_page(database):
    database.write_bytes(database.read_bytes()[:4096])


def garbage(database):
    database.write_bytes(b"\x00\xffgarbage" * 1000)


def text(database):
    database.write_text("[vm]\nname=x\n")


def torn_in_the_middle(database):
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    database.write_bytes(content)


def newer(database):
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()


def foreign(database):
    database.unlink()
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER, body TEXT)")
        connection.execute("INSERT INTO notes VALUES (1, 'not yours')")
    connection.close()


def foreign_with_our_version(database):
    database.unlink()
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE vm (id INTEGER)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def folder_instead(database):
    database.unlink()
    database.mkdir()


@pytest.mark.parametrize("harm", [truncated, cut_to_a_page, garbage, text, torn_in_the_middle, newer, foreign, foreign_with_our_version,
                                  folder_instead], ids=lambda harm: harm.__name__)  # fmt: skip
def test_database_that_is_no_database_is_said_and_left_as_it_is(vm, harm):
    vm.chainctl.ok("snapshot", "vm1", "s")
    harm(vm.chainctl.state_dir / "chainctl.db")
    before = vm.untouched()
    for words in (["vm", "list"], ["list", "vm1"], ["snapshot", "vm1", "new"], ["vm", "add", "x", "--qmp", vm.qemu.qmp],
                  ["vm", "remove", "vm1"], ["path", "vm1", "vda"], ["check", "vm1"], ["tree", "vm1"]):  # fmt: skip
        result = vm.chainctl.run(*words)
        assert result.status in (1, 9), (words, result)
        message = only_document(result.out)["error"]["message"]
        assert "chainctl.db" in message or str(vm.chainctl.state_dir) in message, (words, message)
        human = vm.chainctl.run(*words, json_output=False)
        assert (human.status, human.out) == (result.status, ""), (words, human)
    assert vm.untouched() == before


def test_newer_database_says_that_it_is_newer(vm):
    newer(vm.chainctl.state_dir / "chainctl.db")
    error = vm.chainctl.fails(1, "vm", "list")
    assert "newer" in f"{error['message']} {error['hint']}"


def test_empty_database_file_is_taken_for_a_new_one_or_refused_and_never_a_crash(vm, chainctl, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "chainctl.db").touch()
    result = chainctl(folder).run("vm", "list")
    assert result.status in (0, 1) and only_document(result.out)["command"] == "vm list"


def test_database_that_another_program_writes_to_is_waited_for(vm):
    connection = sqlite3.connect(vm.chainctl.state_dir / "chainctl.db", check_same_thread=False)
    connection.isolation_level = None
    connection.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.5, lambda: connection.execute("ROLLBACK"))
    release.start()
    result = vm.chainctl.run("snapshot", "vm1", "s")
    release.join()
    connection.close()
    assert result.status == 0, result


def test_database_that_is_locked_for_good_ends_in_an_error(vm):
    connection = sqlite3.connect(vm.chainctl.state_dir / "chainctl.db")
    connection.isolation_level = None
    connection.execute("BEGIN EXCLUSIVE")
    before = contents(vm.folder), vm.graph()
    result = vm.chainctl.run("snapshot", "vm1", "s", "--timeout", "1")
    connection.execute("ROLLBACK")
    connection.close()
    assert result.status in (1, 6) and result.json["error"]["message"], result
    assert (contents(vm.folder), vm.graph()) == before


def test_journal_beside_the_database_is_not_left_behind_by_a_reader(vm):
    before = sorted(path.name for path in vm.chainctl.state_dir.iterdir())
    for words in (["vm", "list"], ["list", "vm1"], ["check", "vm1"], ["tree", "vm1"]):
        vm.chainctl.ok(*words)
    assert sorted(path.name for path in vm.chainctl.state_dir.iterdir()) == before
