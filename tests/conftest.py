"""Before torch is imported: one thread. On a busy machine two threads wait for each other, over and over."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
