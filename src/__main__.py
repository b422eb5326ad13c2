"""`python -m penstock` is the command `penstock`."""

import os

# Before grpc is imported. C-core would write into our JSON lines; and in a process that is forked, even if only to run
# another program, it would start threads anew, which now and then end that process before it has become the other one.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from .cli import main

if __name__ == "__main__":
    main()
