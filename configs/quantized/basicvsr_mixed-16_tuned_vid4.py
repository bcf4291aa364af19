# BasicVSR (official Vimeo-90K BI weights) fine-tuned at 16 BOPs/MAC, those of 4 bit everywhere, shared out between the
# layers: LSQ steps per output channel, affine LSQ+ activations, taught by the float network alone.
_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/train_clips_small_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/tuned_gpu.py",
    "../_base_/quant/tuned_w4a4.py",
    "../_base_/quant/basicvsr_mixed-16.json",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model | dict(pixel_loss=dict(type="CharbonnierLoss", loss_weight=0.0)),
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    quant=_base_.tuned_quant | dict(rules=[*_base_.quant_rules, *_base_.mixed_16]),
    distill=_base_.tuned_distill,
)
train_dataloader = dict(batch_size=8, num_workers=3)
val_dataloader = None
val_evaluator = None
val_cfg = None
