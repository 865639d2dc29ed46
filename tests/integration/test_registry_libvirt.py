"""What libvirt manages is left to libvirt, with a recipe."""
import pytest

from support import disks, images
from support.qmp import Qmp

DOMAIN = """<!-- WARNING: edit with virsh -->
<domain type='kvm'><name>web &amp; co</name><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>
<backingStore type='file'><format type='raw'/><source file='{}'/></backingStore><target dev='vda'/></disk>
</devices></domain>"""


@pytest.fixture
def ctl(chainctl, tmp_path):
    (tmp_path / "config/libvirt/qemu").mkdir(parents=True)
    return chainctl(env={"XDG_CONFIG_HOME": str(tmp_path / "config")})


def define(tmp_path, image, backing="/none"):
    text = DOMAIN.format(str(image).replace("&", "&amp;").replace("'", "&apos;"), backing)
    (tmp_path / "config/libvirt/qemu/web.xml").write_text(text)


def assert_recipe(error):
    assert error["code"] == "refused" and "virsh" in error["hint"] and "chainctl exec" in error["hint"], error


def test_qemu_with_libvirts_secret_is_refused(qemu, ctl, folder):
    secret = "secret,id=masterKey0,format=raw,data=0123456789abcdef"
    words, paths = disks.two(folder)
    machine = qemu([*words, "-object", secret])
    assert_recipe(ctl.fails(9, "vm", "add", "vm", "--qmp", machine.qmp))
    machine.kill()
    machine.arguments = [*words, "-object", '{"qom-type":"secret","id":"masterKey0","format":"raw","data":"abc"}']
    machine.start()
    assert_recipe(ctl.fails(9, "vm", "add", "vm", "--qmp", machine.qmp))
    (found,) = [vm for vm in ctl.ok("vm", "discover")["vms"] if vm["qmp"] == str(machine.qmp)]
    assert found["libvirt"] is True
    assert f"--qmp unix:{machine.qmp}" not in ctl.run("vm", "discover", json_output=False).out
    assert ctl.ok("vm", "list")["vms"] == []


def test_busy_monitor_of_libvirt_is_refused_for_what_it_is(qemu, ctl, folder):
    machine = qemu(["-object", "secret,id=masterKey0,format=raw,data=abc"], second_monitor=False)
    with Qmp(machine.qmp):
        assert_recipe(ctl.fails(9, "vm", "add", "vm", "--qmp", machine.qmp, "--timeout", "0.5"))


@pytest.mark.parametrize("path", ["/var/lib/libvirt/qemu/domain-1-web/monitor.sock", "/run/libvirt/qemu/x.sock",
                                  "/home/me/.config/libvirt/qemu/lib/domain-1-web/monitor.sock"])  # fmt: skip
def test_monitor_in_libvirts_folders_is_refused_before_it_is_touched(ctl, path):
    assert_recipe(ctl.fails(9, "vm", "add", "vm", "--qmp", path))


@pytest.mark.parametrize("name", ["vda.qcow2", "o'neill & sons.qcow2"])
def test_image_that_a_domain_names_is_refused(qemu, ctl, folder, tmp_path, name):
    path = images.create(folder / name, "8M")
    machine = qemu(disks.blockdev("vda", path))
    define(tmp_path, path)
    error = ctl.fails(9, "vm", "add", "vm", "--qmp", machine.qmp)
    assert_recipe(error)
    assert "web & co" in error["message"]
    assert ctl.ok("vm", "list")["vms"] == []


def test_image_that_a_domain_names_by_another_path_is_refused(qemu, ctl, folder, tmp_path):
    path = images.create(folder / "vda.qcow2", "8M")
    (tmp_path / "elsewhere").symlink_to(folder)
    define(tmp_path, tmp_path / "elsewhere/vda.qcow2")
    assert_recipe(ctl.fails(9, "vm", "add", "vm", "--qmp", qemu(disks.blockdev("vda", path)).qmp))


def test_template_of_a_domain_may_lie_below_and_may_not_be_owned(qemu, ctl, folder, tmp_path):
    template = images.create(folder / "template.qcow2", "8M")
    path = images.create(folder / "vda.qcow2", None, backing=template)
    define(tmp_path, template)
    machine = qemu(disks.blockdev("vda", path))
    assert_recipe(ctl.fails(9, "vm", "add", "vm", "--qmp", machine.qmp, "--own", template))
    disks.register(ctl, machine)
    assert_recipe(ctl.fails(9, "vm", "set", "vm", "--own", template))


def test_backing_image_in_a_definition_and_a_broken_file_are_no_obstacle(qemu, ctl, folder, tmp_path):
    path = images.create(folder / "vda.qcow2", "8M")
    define(tmp_path, "/other.qcow2", backing=path)
    (tmp_path / "config/libvirt/qemu/broken.xml").write_bytes(b"<domain><disk>\xff<<")
    disks.register(ctl, qemu(disks.blockdev("vda", path)))
