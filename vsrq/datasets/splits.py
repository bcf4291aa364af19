"""Which clips of a data set are for training and which for testing, where no list file is at hand."""

from __future__ import annotations

from vsrq.errors import ConfigError, DataError, did_you_mean

REDS4 = ("000", "011", "015", "020")
"""The four training clips of REDS that the field tests on [EDVR 2019]."""

SPLITS = ("reds4_train", "reds4_val")


def select_split(names: list[str], split: str) -> list[str]:
    """Keep the clips that belong to a split.

    Args:
        names: Names of all clips found.
        split: ``'reds4_val'`` keeps :data:`REDS4`, ``'reds4_train'`` all others.

    Raises:
        ConfigError: There is no such split.
        DataError: A test clip is missing, or no training clip is left.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}{did_you_mean(split, SPLITS)}; allowed: {', '.join(SPLITS)}")
    if split == "reds4_train":
        kept = [name for name in names if name not in REDS4]
        if not kept:
            raise DataError("split 'reds4_train': no clip besides REDS4's was found; extract train_sharp completely")
        return kept
    missing = [name for name in REDS4 if name not in names]
    if missing:
        raise DataError(f"split 'reds4_val': clips {', '.join(missing)} of REDS4 are missing; extract train_sharp")
    return list(REDS4)
