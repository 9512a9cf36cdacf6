#!/bin/sh
# Takes out of a toolkit what a boot of its kernel needs: the kernel's image, modprobe and a shell with their libraries,
# and some of the kernel's own modules. Nothing of the driver runs here.
#
# Mounted: /foundry/out (empty). Environment: KERNEL. Arguments: modules, each as its path below /lib/modules/KERNEL.
# Leaves in /foundry/out: vmlinuz, root (what the guest has), release (what kmod calls itself).
# Exit code 4: the toolkit has no image of the kernel; 5: it lacks one of the modules or programs, which it names.
set -eu
PATH=$PATH:/usr/sbin:/sbin
root=/foundry/out/root
tree=/lib/modules/$KERNEL

for image in "$tree/vmlinuz" "/boot/vmlinuz-$KERNEL"; do
    [ ! -f "$image" ] || break
done
[ -f "$image" ] || exit 4
cp -L "$image" /foundry/out/vmlinuz

# Files under the paths by which they are found; links are followed.
take() {
    mkdir -p "$root/${1%/*}"
    cp -L "$1" "$root/$1"
}

for program in /bin/sh cat insmod modprobe mount; do
    if ! file=$(command -v "$program"); then
        [ "$program" != mount ] || continue  # Debian's smallest systems have none: the image's busybox takes its place
        echo "the toolkit has no $program" >&2
        exit 5
    fi
    take "$file"
    ldd "$file" | sed -n 's/^.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' > /tmp/libraries
    while read -r library; do
        [ -e "$root/$library" ] || take "$library"
    done < /tmp/libraries
done
# kmod may load these when it meets a compressed module.
ldconfig -p | sed -n 's/^.*lib\(lzma\.so\.5\|zstd\.so\.1\|z\.so\.1\) .*=> //p' > /tmp/libraries
while read -r library; do
    [ -e "$root/$library" ] || take "$library"
done < /tmp/libraries

for module do
    [ -f "$tree/$module" ] || { echo "the toolkit has no $module" >&2; exit 5; }
    take "$tree/$module"
done
modprobe --version | sed -n 1p > /foundry/out/release
