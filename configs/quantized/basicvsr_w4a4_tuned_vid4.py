# BasicVSR (official Vimeo-90K BI weights) fine-tuned at 4 bit in all layers but the flow network's, which has 8: LSQ
# steps per output channel, affine LSQ+ activations, taught by the float network alone on real and rendered clips.
_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/train_clips_small_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/tuned_cpu.py",
    "../_base_/quant/tuned_w4a4.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model | dict(pixel_loss=dict(type="CharbonnierLoss", loss_weight=0.0)),
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    # as the shipped weights were made: one grid for the frame and the features beside it, MSE ranges to start from
    quant=_base_.tuned_quant | dict(act=dict(type="LSQPlus", bits=4, per_part=False)),
    distill=_base_.tuned_distill,
)
val_dataloader = None
val_evaluator = None
val_cfg = None
