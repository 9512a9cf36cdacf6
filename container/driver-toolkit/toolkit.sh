#!/bin/sh
# The steps of Containerfile.debian: toolchain | kernel KERNEL [RT_KERNEL] | release KERNEL RT_KERNEL
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

update() {
    apt-get -q -o Acquire::Retries=3 -o Acquire::Languages=none update
}

install_packages() {
    apt-get -q -o Acquire::Retries=3 -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 \
        install --yes --no-install-recommends "$@"
}

# Nothing that is only of use while packages are installed, and nothing that differs from build to build.
clean() {
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old \
        /var/lib/dpkg/*-old /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /tmp/*
}

# A fault that has a name is said as `driver-toolkit: <name>: <sentence>`.
fail() {
    echo "driver-toolkit: $1: $2" >&2
    exit 3
}

# Headers and image are unpacked, not installed: newer headers depend on the image, and the image brings
# an initramfs and its tools. What else the headers need is installed.
add_kernel() {
    kernel=$1
    modules=/lib/modules/$kernel
    apt-cache pkgnames "linux-headers-$kernel" | grep -qxF "linux-headers-$kernel" || fail kernel-missing \
        "the archive has no kernel $kernel; the newest that it has: $(apt-cache pkgnames linux-headers- \
            | sed -n 's/^linux-headers-\([0-9].*-.*\)/\1/p' | grep -v -- '-common' | sort -V | tail -8 | tr '\n' ' ')"
    needed=$(apt-cache show --no-all-versions "linux-headers-$kernel" \
        | sed -n 's/^Depends: //p' | tr ',' '\n' | sed 's/^ *//; s/[ (|].*//' | grep -v '^linux-image-')
    # shellcheck disable=SC2086 # a list of words
    install_packages $needed
    work=$(mktemp -d)
    cd "$work"
    apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root \
        download "linux-headers-$kernel" "linux-image-$kernel"
    mkdir headers image
    dpkg-deb -x ./linux-headers-*.deb headers
    dpkg-deb --fsys-tarfile ./linux-image-*.deb | tar -x -C image \
        --wildcards "./boot/vmlinu*-$kernel" "./boot/config-$kernel" '*/modules.*'
    mkdir -p "$modules"
    cp -a headers/usr/src/. /usr/src/
    cp -a headers/lib/modules/"$kernel"/. "$modules/"
    cp image/boot/vmlinu*-"$kernel" "$modules/vmlinuz"
    cp "image/boot/config-$kernel" "$modules/config"
    find image -name 'modules.*' -exec cp {} "$modules/" \;
    cd /
    rm -rf "$work"
    test -e "$modules/build/Makefile"
    test -e "$modules/build/Module.symvers"
}

case $1 in
toolchain)
    update
    install_packages gcc make libc6-dev kmod binutils bc libelf1 ca-certificates xz-utils
    clean
    ;;
kernel)
    update
    add_kernel "$2"
    [ -z "${3:-}" ] || add_kernel "$3"
    clean
    ;;
release)
    version=$(cat /etc/debian_version)
    printf '{"KERNEL_VERSION": "%s", "RT_KERNEL_VERSION": "%s", "RHEL_VERSION": "", "DEBIAN_VERSION": "%s"}\n' \
        "$2" "$3" "$version" > /etc/driver-toolkit-release.json
    ;;
*)
    echo "driver-toolkit: toolchain | kernel KERNEL [RT_KERNEL] | release KERNEL RT_KERNEL" >&2
    exit 2
    ;;
esac
