"""Changes training images in whole batches, on the device: crops, flips, colours, erased parts, mixtures."""
