# BasicVSR (official Vimeo-90K BI weights) fine-tuned at 4 bit with RLQ on videos below data/videos/train.
_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/calibration_videos.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/qat.py",
    "../_base_/quant/basicvsr_rules.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    # from trained weights, steps of smallest squared error are a better start than LSQ's
    quant=dict(
        weight=dict(type="RLQ", bits=4, axis=0, observer=dict(type="MSE")),
        act=dict(type="RLQ", bits=4, observer=dict(type="MSE")),
        rules=_base_.quant_rules,
    ),
)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
