"""`python -m penstock` is the command `penstock`."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is imported: C-core would write into our JSON lines

from .cli import main

if __name__ == "__main__":
    main()
