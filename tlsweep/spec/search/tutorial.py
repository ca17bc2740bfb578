"""What PyTorch's tutorial on transfer learning does: what many people would do without a search.

https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
"""

from typing import Final

from tlsweep.spec.hyperparameters import Hyperparameters

TUTORIAL: Final = Hyperparameters(
    optimizer="sgd", momentum=0.9, lr=0.001, batch_size=4, lr_schedule="step", lr_gamma=0.1, lr_step_epochs=7
)
"""The whole network with SGD, lr 0.001 and batches of 4 images; lr is divided by 10 every 7 epochs.

Its new head begins with torch's own initialisation. Epochs, images and their augmentation are those of the sweep: the
tutorial itself has 25 epochs, and random crops and flips of photographs.
"""
