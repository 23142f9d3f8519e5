"""Silences what libraries say that no user of the command can act upon; never at import."""

import logging
import warnings


def quiet() -> None:
    """Filter known remarks, each for the reason beside it."""
    remarks = (
        "does not have many workers",  # images come from a memory map: workers help in few cases
        "isinstance\\(treespec, LeafSpec\\)",  # between Lightning and torch
        "Checkpoint directory .* exists and is not empty",  # the folder of the run itself
        "You are using the plain ModelCheckpoint",  # an advertisement
        "Experiment logs directory .* exists",  # the unit's folder, made just before
        "Be aware that when using `ckpt_path`",  # a unit of a search has callbacks of its own
        "The dirpath has changed",  # a resume into a new version folder
        "`log_every_n_steps`|The number of training batches",  # short runs are meant to be short
        "uncalibrated: ",  # the table says so
        "Trying to infer the `batch_size`",  # episodes are one batch each
    )
    for remark in remarks:
        warnings.filterwarnings("ignore", message=f".*({remark})")
    loading = "pytorch_lightning.trainer.connectors.checkpoint_connector"
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed", loading):
        logging.getLogger(name).addFilter(_is_worth_reading)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    """Drop advertisements and the devices that are absent; keep everything else."""
    text = record.getMessage()
    absent = text.endswith(("used: False", "using: 0 TPU cores", "using: 0 HPUs"))
    told = text.startswith(("Seed set to", "`weights_only` was not set"))  # ours hold plain values only
    return not (absent or told or "Tip: For seamless" in text)
