#!/bin/sh
# The steps of Containerfile.debian: toolchain | kernel KERNEL | release KERNEL RT_KERNEL
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

install_packages() {
    apt-get -q -o Acquire::Retries=3 update
    apt-get -q -o Acquire::Retries=3 -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 \
        install --yes --no-install-recommends "$@"
}

# Nothing that is only of use while packages are installed, and nothing that differs from build to build.
clean() {
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old \
        /var/lib/dpkg/*-old /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /tmp/*
}

case $1 in
toolchain)
    install_packages gcc make libc6-dev kmod binutils bc libelf1 ca-certificates xz-utils
    clean
    ;;
kernel)
    kernel=$2
    install_packages "linux-headers-$kernel"
    # Unpacked, not installed: its dependencies would bring a boot loader's tools.
    work=$(mktemp -d)
    chmod 755 "$work"
    cd "$work"
    apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root download "linux-image-$kernel"
    mkdir root
    dpkg-deb --fsys-tarfile ./linux-image-*.deb | tar -x -C root \
        --wildcards "./boot/vmlinu*-$kernel" "./boot/config-$kernel" '*/modules.*'
    modules=/lib/modules/$kernel
    mkdir -p "$modules"
    cp "root/boot/vmlinu"*"-$kernel" "$modules/vmlinuz"
    cp "root/boot/config-$kernel" "$modules/config"
    find root -name 'modules.*' -exec cp {} "$modules/" \;
    cd /
    rm -rf "$work"
    clean
    test -e "$modules/build/Makefile"
    test -e "$modules/build/Module.symvers"
    ;;
release)
    . /etc/os-release
    version=$(cat /etc/debian_version)
    printf '{"KERNEL_VERSION": "%s", "RT_KERNEL_VERSION": "%s", "RHEL_VERSION": "", "DEBIAN_VERSION": "%s"}\n' \
        "$2" "$3" "$version" > /etc/driver-toolkit-release.json
    ;;
*)
    echo "driver-toolkit: toolchain | kernel KERNEL | release KERNEL RT_KERNEL" >&2
    exit 2
    ;;
esac
