"""k-same: a face is replaced by the average of the k that are most like it among donors' faces."""
