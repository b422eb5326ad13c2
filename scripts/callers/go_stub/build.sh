#!/bin/sh
# Builds the caller against Debian's Go libraries, without a network; see README.md for the packages and for Go modules.
#   build.sh [FOLDER]        FOLDER: what generate.sh made (default: `generated` beside this file); the program is FOLDER/caller
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-$here/generated}"
out=$(cd "${1:-$here/generated}" && pwd)
cd "$here"
GO111MODULE=off GOPATH=$out:/usr/share/gocode go build -o "$out/caller" main.go
