"""The model formats, one file each, with a function `load(folder, entry, device) -> Loaded`."""
