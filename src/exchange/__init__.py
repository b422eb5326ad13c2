"""Links between gateway and worker: the same messages over a unix socket with shared memory, or over gRPC."""
