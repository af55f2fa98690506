# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds an initial RAM disk (cpio, format newc) without being root.

The archive is written here and not by cpio(1), because device nodes and
ownership by root have to be in it whoever builds it, and because the same
input has to give the same bytes.
"""

import gzip
import lzma
import re
import stat
from pathlib import Path

DIRECTORIES = ("bin", "dev", "lib", "proc", "run", "sys", "tmp")


class Archive:
    """A cpio archive in memory."""

    def __init__(self):
        self._parts = []
        self._inode = 0
        self._directories = set()

    def directory(self, name):
        """Adds a directory and those above it, once."""
        if name in ("", ".") or name in self._directories:
            return
        self.directory(str(Path(name).parent))
        self._directories.add(name)
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644, mtime=0):
        self.directory(str(Path(name).parent))
        self._entry(name, stat.S_IFREG | mode, data, mtime=mtime)

    def symlink(self, name, target):
        self.directory(str(Path(name).parent))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        """Adds a character device."""
        self.directory(str(Path(name).parent))
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def contents(self):
        """The archive, complete."""
        self._entry("TRAILER!!!", 0)
        return b"".join(self._parts)

    def _entry(self, name, mode, data=b"", device=(0, 0), mtime=0):
        self._inode += 1
        encoded = name.encode() + b"\0"
        # magic, then: ino mode uid gid nlink mtime filesize devmajor
        # devminor rdevmajor rdevminor namesize check
        fields = (self._inode, mode, 0, 0, 1, mtime, len(data), 0, 0,
                  *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % f for f in fields)
        self._parts.append(_padded(header + encoded))
        self._parts.append(_padded(data))


def _padded(data):
    return data + bytes(-len(data) % 4)


def read_module(path):
    """A kernel module as insmod takes it: not compressed."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def module_closure(tree, names):
    """Modules NAMES below TREE and all they need, in order of loading.

    Returns a list of (name, contents).  What is built into the kernel is
    left out.  The modules say themselves what they need, so depmod, whose
    files are made at installation only, is not missed.
    """
    found = {}
    for path in tree.rglob("*.ko*"):
        found[_canonical(path.name.split(".ko")[0])] = path
    builtin = {_canonical(Path(line).stem)
               for listing in tree.rglob("modules.builtin")
               for line in listing.read_text().split()}
    ordered = {}

    def visit(name):
        name = _canonical(name)
        if name in ordered or name in builtin:
            return
        if name not in found:
            raise FileNotFoundError(f"no kernel module '{name}' below {tree}")
        contents = read_module(found[name])
        needed = re.search(rb"\0depends=([^\0]*)\0", contents)
        for other in needed[1].decode().split(",") if needed else ():
            if other:
                visit(other)
        ordered[name] = contents

    for name in names:
        visit(name)
    return list(ordered.items())


def _canonical(name):
    return name.replace("-", "_")


def add_busybox(archive, package, init):
    """What a first process INIT, a shell script, needs; PACKAGE: unpacked."""
    for name in DIRECTORIES:
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", next(package.rglob("bin/busybox")).read_bytes(),
                 0o755)
    archive.symlink("bin/sh", "busybox")
    archive.file("init", init.read_bytes(), 0o755)


def add_modules(archive, module_tree, modules):
    """They and what they need, named so that a shell loads them in order."""
    for position, (name, contents) in enumerate(
            module_closure(module_tree, modules)):
        archive.file(f"lib/modules/{position:02}-{name}.ko", contents)


def guest_initramfs(busybox, init, module_tree, modules, programs):
    """Bytes of the test guests' initial RAM disk, compressed.

    PROGRAMS need no libraries.
    """
    archive = Archive()
    add_busybox(archive, busybox, init)
    add_modules(archive, module_tree, modules)
    for program in programs:
        archive.file(f"bin/{program.name}", program.read_bytes(), 0o755)
    return gzip.compress(archive.contents(), compresslevel=6, mtime=0)
