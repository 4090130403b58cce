#!/usr/bin/env bash
# The part of bare.py that runs as process 1 of a bare Debian's own namespaces (mounts, processes): mounts what a
# machine has mounted, makes the Debian the root directory, and runs the commands there. All of it ends with it.
# Usage: bare-inside.sh ROOT pivot|chroot DEBS USER RELEASE COMMAND... -- [PATH...]
# pivot: as on a machine. chroot: the kernel refuses user namespaces there. PATH: directories to show read-only.
set -euo pipefail
root=$1 how=$2 debs=$3 user=$4 release=$5
shift 5
commands=()
while [[ $1 != -- ]]; do
    commands+=("$1")
    shift
done
shift
trap 'exit 130' INT # process 1 has no default actions
trap 'exit 143' TERM

mount --bind "$root" "$root"
mount -o remount,bind,suid,dev,exec "$root" # sudo has to work, wherever the cache lies
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -o remount,bind,ro "$root/sys"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=755 dev "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0 1 2; do
    names=(stdin stdout stderr)
    ln -s "/proc/self/fd/$number" "$root/dev/${names[number]}"
done
mount --bind "$debs" "$root/var/cache/apt/archives"
for path in "$@"; do
    mount --bind "$path" "$root$path"
    mount -o remount,bind,ro "$root$path"
done

cd "$root"
enter=()
if [[ $how == pivot ]]; then
    mkdir old
    pivot_root . old
    cd /
    umount -l /old
    rmdir /old
else
    enter=(chroot "$root")
fi
hash -r
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for command in "${commands[@]}"; do
    echo "test-bare: $release as $user: make $command" >&2
    begin=$SECONDS
    status=0
    "${enter[@]}" su -l "$user" -c "cd project && make $command" </dev/null || status=$?
    echo "test-bare: $release as $user: make $command ended with $status after $((SECONDS - begin)) s" >&2
    ((status == 0)) || exit "$status"
done
