"""tlsweep: find learning rate and batch size, and how both should change, when a pretrained network is fine-tuned."""
