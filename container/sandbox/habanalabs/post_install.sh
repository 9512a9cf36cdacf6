#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What a package of this kind does on a node, and an image can't.
echo 'SUBSYSTEM=="habanalabs", MODE="0666"' > /etc/udev/rules.d/99-habanalabs.rules
udevadm control --reload
