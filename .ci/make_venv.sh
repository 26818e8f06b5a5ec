#!/bin/sh
# Debian and Ubuntu ship Python without its venv module: install it by apt, or say what to type.
set -eu
python="$1"
folder="$2"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
rm -rf "$folder"
if command -v apt-get >/dev/null 2>&1; then
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    if [ -z "$as_root" ] || command -v sudo >/dev/null 2>&1; then
        echo "installing python3-venv with apt-get" >&2
        $as_root apt-get update -qq
        $as_root apt-get install -y -qq "python$version-venv" >/dev/null 2>&1 || \
            $as_root apt-get install -y -qq python3-venv >/dev/null
        exec "$python" -m venv "$folder"
    fi
fi
echo "Python's venv module is missing. Type: 'sudo apt install python3-venv' (Debian, Ubuntu)" >&2
exit 2
