# BasicVSR++ c32n3 (weights of this project) at 8 bit per frame, post-training, scored on Vid4.
_base_ = [
    "../_base_/models/basicvsr_pp_c32n3.py",
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
    float_checkpoint="weights/basicvsr_pp_c32n3.safetensors",
    quant=dict(weight=dict(bits=8), act=dict(bits=8), rules=_base_.quant_rules),
)
