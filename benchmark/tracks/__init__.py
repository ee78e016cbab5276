"""One file a track: what is measured, on arrays, without files."""
