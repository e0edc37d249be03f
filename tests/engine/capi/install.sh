#!/bin/sh
# install.sh BUILD SAMPLES BUNDLE: what `cmake --install` lays down is all that a machine needs, wherever it is moved.
set -eu
build=$1 samples=$2 bundle=$3 folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$build" --prefix "$folder/first" >/dev/null
mv "$folder/first" "$folder/moved"
prefix=$folder/moved
libraries=$(dirname "$(find "$prefix" -name libgsvnet.so)")

# pkg-config, plain C.
PKG_CONFIG_PATH=$libraries/pkgconfig
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # flags are words
cc -std=c99 -Wall -Wextra -Werror "$samples/segment.c" -o "$folder/segment" $(pkg-config --cflags --libs gsvnet) \
  -Wl,-rpath,"$libraries"

# The CMake package, as a project of its own.
cmake -S "$samples" -B "$folder/build" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$folder/build" --target shares >/dev/null

# Nothing from elsewhere: no environment, and OpenVINO from beside the library.
head -c $((64 * 48 * 3 / 2)) /dev/urandom >"$folder/frame"
env -i "$folder/segment" "$bundle" 64 48 <"$folder/frame" >"$folder/labels"
[ "$(wc -c <"$folder/labels")" = $((64 * 48)) ]
env -i "$folder/build/shares" "$bundle" 64 48 <"$folder/frame" | grep -q '^key '
if [ -d "$libraries/gsvnet" ]; then
  ldd "$libraries/libgsvnet.so" | grep -q "libopenvino.* => $libraries/gsvnet/"
  ls "$prefix"/share/licenses/gsvnet/openvino/* >/dev/null
fi
