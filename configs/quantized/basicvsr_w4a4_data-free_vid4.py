# 4 bit after training, calibrated on rendered clips; compare basicvsr_w4a4_ptq_vid4.py, which sees real ones.
_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/rendered_clips.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/ptq.py",
    "../_base_/quant/basicvsr_rules.py",
    "../_base_/default_runtime.py",
]
clipped = [dict(pattern=trunk, act=dict(type="MSE")) for trunk in _base_.trunks]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    quant=dict(weight=dict(bits=4), act=dict(bits=4), rules=[*_base_.quant_rules, *clipped]),
)
