"""A directory of modules put together in the cache, as lib/modules/VERSION would be, where they lie otherwise.

    $XDG_CACHE_HOME/hostbuild/module-trees/VERSION-KEY/root/lib/modules/VERSION/
        kernel/...          links to the modules where they are
        modules.order ...   the lists of the kernel's build

For kernels whose packages are split, and for build trees. The key stands for all of it, sizes and times of the
modules included: what is built again is put together again.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from hostbuild import debs
from hostbuild.fs import sealed
from hostbuild.fs.scratch import scratch_directory


def assemble(version: str, files: Mapping[str, Path], lists: Mapping[str, bytes]) -> Path:
    """Give a directory with links to `files`, by their paths there, and `lists` in it."""
    digest = hashlib.sha256()
    for path, file in sorted(files.items()):
        status = file.stat()
        digest.update(
            f"{path} {file} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
        )
    for name, data in sorted(lists.items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    kept = debs.cache_directory() / "module-trees"
    final = kept / f"{version}-{digest.hexdigest()[:16]}"
    found = sealed.find(final)
    if found is None:
        kept.mkdir(exist_ok=True)
        with scratch_directory(kept) as staging:
            base = sealed.root_of(staging / "sealed") / "lib/modules" / version
            base.mkdir(parents=True)
            made = {base}
            for path, file in files.items():
                link = base / path
                if link.parent not in made:
                    link.parent.mkdir(parents=True, exist_ok=True)
                    made.add(link.parent)
                os.symlink(file.absolute(), link)
            for name, data in lists.items():
                (base / name).write_bytes(data)
            found = sealed.publish(staging / "sealed", final)
    return found / "lib/modules" / version
