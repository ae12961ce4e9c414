"""The physics: y = S C P x + noise. Pose and slice (P), CTF (C), shift (S), one file each; and its normal equations."""
