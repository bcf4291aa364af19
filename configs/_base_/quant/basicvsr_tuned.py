# What fine-tunings of BasicVSR (official Vimeo-90K BI weights) share: everything but schedule and bits.
_base_ = [
    "../models/basicvsr_c64n30.py",
    "../datasets/train_clips_small_bix4.py",
    "../datasets/vid4_bix4.py",
    "tuned_w4a4.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model | dict(pixel_loss=dict(type="CharbonnierLoss", loss_weight=0.0)),
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    quant=_base_.tuned_quant,
    distill=_base_.tuned_distill,
)
val_dataloader = None
val_evaluator = None
val_cfg = None
