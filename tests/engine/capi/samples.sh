#!/bin/sh
# samples.sh FOLDER BUNDLE: the samples run on three raw frames of noise and give what they promise.
set -eu
samples=$1 bundle=$2 folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
w=64 h=48
head -c $((w * h * 3 / 2 * 3)) /dev/urandom >"$folder/yuv" # I420 and NV12 are equally large
head -c $((w * h * 3 * 3)) /dev/urandom >"$folder/rgb"

"$samples/segment" "$bundle" $w $h <"$folder/yuv" >"$folder/labels" 2>"$folder/counts"
[ "$(wc -c <"$folder/labels")" = $((w * h * 3)) ]
[ "$(wc -l <"$folder/counts")" = 3 ]
"$samples/overlay" "$bundle" $w $h <"$folder/rgb" >"$folder/overlay" 2>"$folder/legend"
[ "$(wc -c <"$folder/overlay")" = $((w * h * 3 * 3)) ]
grep -q '^#804080 Road$' "$folder/legend"
"$samples/shares" "$bundle" $w $h <"$folder/yuv" >"$folder/shares"
[ "$(grep -c ms "$folder/shares")" = 3 ]
head -1 "$folder/shares" | grep -q '^key '

if "$samples/segment" "$folder" $w $h </dev/null >/dev/null 2>"$folder/error"; then exit 1; fi
grep -q 'has no manifest.json' "$folder/error"
