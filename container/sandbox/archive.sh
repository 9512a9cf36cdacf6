#!/bin/sh
# Runs in the sandbox's Debian: writes what its archive offers to /out.
#   kernels   the kernels that have headers and an image, one a line
#   date      of the Debian release, as the archive states it
#   busybox/  the root of the base image; busybox.version, busybox.created (seconds);
#             busybox.uris: the files of its source package, each with its checksum
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/sources.list
apt-get -q -o Acquire::Retries=3 -o Acquire::Languages=none update

apt-cache pkgnames linux-headers- | sed 's/^linux-headers-//' | sort > /tmp/headers
apt-cache pkgnames linux-image- | sed 's/^linux-image-//' | sort > /tmp/images
comm -12 /tmp/headers /tmp/images > /out/kernels
sed -n 's/^Date: //p' /var/lib/apt/lists/*_dists_"$1"_*Release | head -1 > /out/date

cd /tmp
apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root download busybox-static
dpkg-deb -x busybox-static_*.deb unpacked
find unpacked -type f -printf '%T@\n' | sort -n | tail -1 | cut -d. -f1 > /out/busybox.created
root=/out/busybox
mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/tmp" "$root/usr/share/doc/busybox-static"
chmod 1777 "$root/tmp"
cp "$(find unpacked -type f -name busybox -perm -100)" "$root/bin/busybox"
cp unpacked/usr/share/doc/busybox-static/copyright "$root/usr/share/doc/busybox-static/copyright"
"$root/bin/busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"
"$root/bin/busybox" 2>&1 | sed -n '1s/^BusyBox v\([0-9][0-9.]*\).*/\1/p' > /out/busybox.version
source=$(dpkg-deb -f busybox-static_*.deb Source Package | sed -n '1s/^[^:]*: *\([^ ]*\).*/\1/p')
version=$(dpkg-deb -f busybox-static_*.deb Source | sed -n 's/.*(\(.*\)).*/\1/p')
[ -n "$version" ] || version=$(dpkg-deb -f busybox-static_*.deb Version)
apt-get -q -o APT::Sandbox::User=root source --print-uris "$source=$version" \
    | sed -n "s/^'\([^']*\)' [^ ]* [0-9]* \([^ ]*\)$/\1 \2/p" > /out/busybox.uris
