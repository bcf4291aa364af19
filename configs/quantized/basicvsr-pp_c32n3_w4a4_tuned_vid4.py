# BasicVSR++ c32n3 (weights of this project) fine-tuned at 4 bit as basicvsr_w4a4_tuned_vid4.py is.
_base_ = [
    "../_base_/models/basicvsr_pp_c32n3.py",
    "../_base_/datasets/train_clips_small_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/tuned_cpu.py",
    "../_base_/quant/tuned_w4a4.py",
]
clipped = [dict(pattern=trunk, act=dict(observer=dict(type="MSE"))) for trunk in _base_.trunks_pp]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model | dict(pixel_loss=dict(type="CharbonnierLoss", loss_weight=0.0)),
    float_checkpoint="weights/basicvsr_pp_c32n3.safetensors",
    quant=_base_.tuned_quant | dict(rules=[*_base_.quant_rules, *clipped]),
    distill=_base_.tuned_distill,
)
val_dataloader = None
val_evaluator = None
val_cfg = None
