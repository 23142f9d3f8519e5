"""Before torch is imported: one thread. Two threads of a busy machine wait for each other, many times over."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
