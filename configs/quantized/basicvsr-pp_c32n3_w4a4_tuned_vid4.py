# BasicVSR++ c32n3 (weights of this project) fine-tuned at 4 bit as basicvsr_w4a4_tuned_vid4.py is.
_base_ = [
    "../_base_/models/basicvsr_pp_c32n3.py",
    "../_base_/datasets/train_clips_small_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/tuned_cpu.py",
    "../_base_/quant/basicvsr_rules.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model | dict(pixel_loss=dict(type="CharbonnierLoss", loss_weight=0.0)),
    float_checkpoint="weights/basicvsr_pp_c32n3.safetensors",
    quant=dict(
        weight=dict(type="LSQ", bits=4, axis=0, observer=dict(type="MSE")),
        act=dict(type="LSQPlus", bits=4),
        rules=_base_.quant_rules,
    ),
    distill=dict(losses=[dict(type="OutputDistillation", eps=1e-4), dict(type="StateDistillation", weight=0.01)]),
)
val_dataloader = None
val_evaluator = None
val_cfg = None
