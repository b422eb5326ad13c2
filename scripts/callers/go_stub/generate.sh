#!/bin/sh
# Makes Go stubs from protos/, as another team would: needs protoc, protoc-gen-go and protoc-gen-go-grpc.
#   generate.sh [FOLDER]     FOLDER: where they go (default: `generated` beside this file)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
protos=$here/../../../protos
out=${1:-$here/generated}

# `option go_package` is penstock.dev/penstock/v1: under src/ that is where GOPATH looks for the import of this name.
# google/rpc/status.proto is read but not generated: its own go_package names Google's genproto, which has it already.
rm -rf "$out/src/penstock.dev"
mkdir -p "$out/src"
cd "$protos"
protoc -I . --go_out="$out/src" --go-grpc_out="$out/src" \
    penstock/v1/tensor.proto penstock/v1/model.proto penstock/v1/model_status.proto penstock/v1/predict.proto \
    penstock/v1/traffic.proto
