# Fine-tuned at 4 bit without data: rendered clips, labelled by the float teacher alone.
_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/rendered_clips.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/qat.py",
    "../_base_/quant/basicvsr_rules.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=dict(_base_.model, pixel_loss=dict(type="CharbonnierLoss", loss_weight=0.0, reduction="mean")),
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    # from trained weights, steps of smallest squared error are a better start than LSQ's
    quant=dict(
        weight=dict(type="RLQ", bits=4, axis=0, observer=dict(type="MSE")),
        act=dict(type="RLQ", bits=4, observer=dict(type="MSE")),
        rules=_base_.quant_rules,
    ),
    distill=dict(losses=[dict(type="OutputDistillation"), dict(type="StateDistillation", weight=0.01)]),
)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
