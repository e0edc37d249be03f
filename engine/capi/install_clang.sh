#!/usr/bin/env bash
# clang with libFuzzer and the sanitizers' runtimes, for the fuzz targets (-DGSVNET_FUZZ=ON). Debian and Ubuntu; does
# nothing where it is there already.
set -euo pipefail

works() {
  echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
    clang++ -fsanitize=fuzzer,address,undefined -x c++ -o /dev/null - 2>/dev/null
}

if works; then
  clang++ --version | head -1
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "install_clang.sh: no apt-get here: install clang and its compiler-rt (libFuzzer) with this system's packages" >&2
  exit 1
fi
root=()
if [ "$(id -u)" != 0 ]; then
  root=(sudo -n)
  "${root[@]}" true 2>/dev/null || {
    echo "install_clang.sh: needs root: sudo $0" >&2
    exit 1
  }
fi
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq
"${root[@]}" apt-get install -y -qq --no-install-recommends clang >/dev/null
# The runtimes are a package of their own, named by clang's version.
major=$(clang --version | sed -n 's/.*version \([0-9]*\).*/\1/p' | head -1)
"${root[@]}" apt-get install -y -qq --no-install-recommends "libclang-rt-$major-dev" >/dev/null ||
  true # older releases ship them with clang itself
works || {
  echo "install_clang.sh: clang is installed but cannot link libFuzzer: install libclang-rt-$major-dev" >&2
  exit 1
}
clang++ --version | head -1
