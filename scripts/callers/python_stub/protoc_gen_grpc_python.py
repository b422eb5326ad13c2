"""A protoc plugin for `*_pb2_grpc.py`, so that `buf generate` needs only pip: grpcio-tools has the generator built in.

Speaks the plugin protocol: a CodeGeneratorRequest on stdin, a CodeGeneratorResponse on stdout. Files without a service
are left out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Have grpc_tools.protoc write into a temporary folder, and hand over what it wrote."""
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    wanted = set(request.file_to_generate)
    services = [file.name for file in request.proto_file if file.service and file.name in wanted]
    with tempfile.TemporaryDirectory() as folder:
        out, descriptors = Path(folder, "out"), Path(folder, "descriptors")
        out.mkdir()
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        options = [f"--descriptor_set_in={descriptors}", f"--grpc_python_out={request.parameter}:{out}"]
        if services:
            subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *services], check=True)
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text())
    return response


if __name__ == "__main__":
    asked = CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(asked).SerializeToString())
