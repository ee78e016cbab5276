"""The scripts that trained the shipped ``phantom-sd`` on phantom donors; each module is one runnable step.

In order: ``data`` renders donors, ``vae`` and ``clip`` learn the two codes, ``unet`` learns to denoise with and
without a donor's photo and writes ``weights/phantom-sd`` and ``weights/phantom-ip-adapter``.
"""
