"""Settings of every run of the tests."""

import os

# Small dense algebra is faster and reproducible on one thread. This must happen before numpy is imported.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
