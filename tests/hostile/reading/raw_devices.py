"""Opens block devices and kernel memory, makes device nodes of its own, and loads a module; as root it might work."""

WON = """
import glob, os, stat


def won():
    for path in ["/dev/mem", "/dev/kmem", "/proc/kcore", *glob.glob("/dev/[svx]d*"), *glob.glob("/dev/nvme*")]:
        try:
            with open(path, "rb", 0) as file:
                if file.read(512):
                    return True
        except OSError:
            pass
    for number, major in enumerate((8, 252, 253, 254, 259)):
        try:
            os.mknod(f"/tmp/disk{number}", stat.S_IFBLK | 0o666, os.makedev(major, 0))
            with open(f"/tmp/disk{number}", "rb", 0) as file:
                if file.read(512):
                    return True
        except OSError:
            pass
    return os.getuid() == 0 and os.access("/etc/shadow", os.R_OK)
"""
TAME = False
