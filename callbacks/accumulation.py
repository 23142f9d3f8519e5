"""Where a batch stands among those that one optimizer step is made of."""

import pytorch_lightning as pl


def micro_batch(trainer: pl.Trainer) -> tuple[int, int]:
    """Epoch and number of the batch in training, the first being 1."""
    return trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready


def closes_window(trainer: pl.Trainer) -> bool:
    """Whether the optimizer steps after this batch: its window is full, or the epoch ends with it.

    As Lightning decides it, with the accumulation in force now, which a scheduler may change between epochs.
    """
    _, number = micro_batch(trainer)
    full = number % trainer.accumulate_grad_batches == 0
    return full or bool(trainer.is_last_batch) or number >= trainer.num_training_batches
