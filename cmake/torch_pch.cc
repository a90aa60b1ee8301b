// Owns the precompiled LibTorch header that all torch-using targets share.
