# BasicVSR (official Vimeo-90K BI weights) at 8 bit per frame, post-training, scored on Vid4.
_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/calibration_videos.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/ptq.py",
    "../_base_/quant/basicvsr_rules.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    quant=dict(weight=dict(bits=8), act=dict(bits=8), rules=_base_.quant_rules),
)
