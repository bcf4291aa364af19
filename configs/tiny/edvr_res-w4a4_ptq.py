# For tests: post-training quantization with temporal residuals, from random weights.
_base_ = [
    "../_base_/models/edvr_tiny.py",
    "../_base_/datasets/clip_folders.py",
    "../_base_/schedules/ptq.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    quant=dict(weight=dict(bits=4), act=dict(bits=4), rules=[dict(pattern="conv_first", act=dict(bits=8))]),
    residual=dict(weight=dict(bits=4), act=dict(bits=4)),
)
train_cfg = dict(max_clips=2, passes=2)
