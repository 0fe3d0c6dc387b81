"""What must be said before any test is imported."""

import os

# Triton asks as it is first imported, by whoever needs it, whether it is to interpret its kernels.
os.environ.setdefault("TRITON_INTERPRET", "1")
