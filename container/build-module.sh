#!/bin/sh
# Compiles a driver's modules inside a toolkit image, without network and without rights.
#
# Mounted: /foundry/src (the cell's patched copy, read-only), /foundry/work (empty), /foundry/out (results).
# Environment: KERNEL, JOBS, STRIP (debug|none), MODULES (paths of the .ko below the source; with a colon the folder
# below /lib/modules/KERNEL that one goes to), LOADING_ORDER (names of modules, first to last; may be missing), PRE_BUILD
# (a program of the package with its arguments, run before; may be missing). The arguments are those of make.
# Leaves in /foundry/out: modules/<name>, depmod/<depmod's files>, compiler.
set -eu

work=/foundry/work
out=/foundry/out
kernel_build=/lib/modules/$KERNEL/build
if [ ! -e "$kernel_build/Makefile" ] && [ -e "/usr/src/kernels/$KERNEL/Makefile" ]; then
    mkdir -p "/lib/modules/$KERNEL"
    ln -sfn "/usr/src/kernels/$KERNEL" "$kernel_build"
fi
if [ ! -e "$kernel_build/Makefile" ]; then
    echo "foundry: this toolkit has no build tree for kernel $KERNEL" >&2
    exit 3
fi

"${CC:-gcc}" --version | sed -n 1p > "$out/compiler"

# Makefiles of packages ask for the running kernel where nobody names another: it is the one to build for.
mkdir -p /tmp/bin
uname=$(command -v uname)
cat > /tmp/bin/uname <<END
#!/bin/sh
case "\$*" in -r) echo "$KERNEL" ;; *) exec "$uname" "\$@" ;; esac
END
chmod 755 /tmp/bin/uname

# pahole's threads order the types of a module's BTF differently from run to run: it gets one.
if pahole=$(command -v pahole); then
    cat > /tmp/bin/pahole <<END
#!/bin/sh
for argument do
    shift
    case \$argument in -j* | --jobs*) ;; *) set -- "\$@" "\$argument" ;; esac
done
exec "$pahole" "\$@"
END
    chmod 755 /tmp/bin/pahole
    set -- PAHOLE=/tmp/bin/pahole "$@"
fi
PATH=/tmp/bin:$PATH

cp -R /foundry/src/. "$work"
cd "$work"
# What dkms(8) gives to the programs of a package.
export kernelver="$KERNEL" kernel_source_dir="$kernel_build" source_tree=/usr/src dkms_tree=/var/lib/dkms
arch=$("$uname" -m)
export arch
if [ -n "${PRE_BUILD:-}" ]; then
    program=${PRE_BUILD%% *}
    words=${PRE_BUILD#"$program"}
    chmod +x "$program"
    case $program in /*) ;; *) program=./$program ;; esac
    # shellcheck disable=SC2086  # words without blanks, checked before
    "$program" $words
fi
make -j "$JOBS" "$@"

install_dir=$out/root/lib/modules/$KERNEL
mkdir -p "$out/modules" "$install_dir" "$out/depmod"
for entry in $MODULES; do
    module=${entry%%:*}
    folder=${entry#"$module"}
    folder=$install_dir/${folder#:}
    if [ ! -f "$module" ]; then
        echo "foundry: the build did not produce $module" >&2
        exit 4
    fi
    name=${module##*/}
    mkdir -p "$folder"
    cp "$module" "$out/modules/$name"
    [ "$STRIP" = none ] || strip --strip-debug "$out/modules/$name"
    cp "$out/modules/$name" "$folder/$name"
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
before=
for name in ${LOADING_ORDER:-}; do
    [ -z "$before" ] || echo "softdep $name pre: $before" >> "$install_dir/modules.softdep"
    before=$name
done
for file in "$install_dir"/modules.*; do
    cp "$file" "$out/depmod/"
done
