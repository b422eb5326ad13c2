#!/bin/sh
# Makes Python stubs from protos/, as another team would: needs grpcio-tools, and nothing of the penstock package.
#   generate.sh [FOLDER]     FOLDER: where they go (default: `generated` beside this file)
# PYTHON says which interpreter has grpcio-tools (default: python3).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
protos=$here/../../../protos
out=${1:-$here/generated}

# What a caller needs. registry.proto is for operators, worker.proto for Penstock's own processes. google/rpc/status.proto
# is read but not generated: in Python googleapis-common-protos brings google.rpc.status_pb2, and one process must not
# register the same file twice.
rm -rf "$out/penstock"
mkdir -p "$out/penstock/v1"
cd "$protos"
"${PYTHON:-python3}" -m grpc_tools.protoc -I . --python_out="$out" --pyi_out="$out" \
    penstock/v1/tensor.proto penstock/v1/model.proto penstock/v1/model_status.proto penstock/v1/predict.proto \
    penstock/v1/traffic.proto
"${PYTHON:-python3}" -m grpc_tools.protoc -I . --grpc_python_out="$out" \
    penstock/v1/model_status.proto penstock/v1/predict.proto

# Whole packages, not namespace packages: so they win over an installed penstock when FOLDER is earlier on the path.
touch "$out/penstock/__init__.py" "$out/penstock/v1/__init__.py"
