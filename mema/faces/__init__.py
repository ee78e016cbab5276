"""Instruments that read a face: recognisers, detection and landmarks, thresholds, matching."""
