"""What computes: models, training and metrics in plain PyTorch and NumPy; no Ray, files or YAML."""

import os

# MKL promises equal sums from run to run only in this mode, also with a fixed number of threads. It reads this at its
# first call, which is after the import of any module here. A step of pretraining takes as long in either mode.
os.environ.setdefault("MKL_CBWR", "AUTO")
