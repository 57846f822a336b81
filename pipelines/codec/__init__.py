"""A recurrent image codec with stop codes: network, masks, stream, files, quality."""
