#!/bin/sh
# Compiles a driver's modules inside a toolkit image, without network and without rights.
#
# Mounted: /foundry/src (the cell's patched copy, read-only), /foundry/out (results).
# Environment: KERNEL, MODULES (paths of the .ko below the source), JOBS, STRIP (debug|none), INSTALL_DIR;
# further arguments are handed to make.
# Leaves in /foundry/out: modules/<name>, depmod/<depmod's files>, compiler.
set -eu

work=/foundry/work
out=/foundry/out
kernel_build=/lib/modules/$KERNEL/build
[ -e "$kernel_build/Makefile" ] || kernel_build=/usr/src/kernels/$KERNEL
if [ ! -e "$kernel_build/Makefile" ]; then
    echo "foundry: this toolkit has no build tree for kernel $KERNEL" >&2
    exit 3
fi

"${CC:-gcc}" --version | sed -n 1p > "$out/compiler"

# pahole's threads order the types of a module's BTF differently from run to run: it gets one.
if command -v pahole > /dev/null 2>&1; then
    cat > /tmp/pahole <<'END'
#!/bin/sh
for argument do
    shift
    case $argument in -j* | --jobs*) ;; *) set -- "$@" "$argument" ;; esac
done
exec pahole "$@"
END
    chmod 755 /tmp/pahole
    set -- PAHOLE=/tmp/pahole "$@"
fi

cp -R /foundry/src/. "$work"
cd "$work"
make -C "$kernel_build" M="$work" -j "$JOBS" "$@" modules

install_dir=$out/root/lib/modules/$KERNEL
mkdir -p "$out/modules" "$install_dir" "$out/depmod"
for module in $MODULES; do
    if [ ! -f "$module" ]; then
        echo "foundry: the build did not produce $module" >&2
        exit 4
    fi
    name=${module##*/}
    cp "$module" "$out/modules/$name"
    [ "$STRIP" = none ] || strip --strip-debug "$out/modules/$name"
    cp "$out/modules/$name" "$install_dir/$name"
done

# depmod wants the kernel's own lists; they tell modprobe what is built in.
for list in modules.order modules.builtin modules.builtin.modinfo; do
    if [ -f "/lib/modules/$KERNEL/$list" ]; then
        cp "/lib/modules/$KERNEL/$list" "$install_dir/$list"
    else
        : > "$install_dir/$list"
    fi
done
depmod -b "$out/root" "$KERNEL"
rm -f "$install_dir/modules.order"
for file in "$install_dir"/modules.*; do
    cp "$file" "$out/depmod/"
done
