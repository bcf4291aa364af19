# For tests: quantization-aware training from random weights.
_base_ = [
    "../_base_/models/basicvsr_tiny.py",
    "../_base_/datasets/clip_folders.py",
    "../_base_/schedules/qat.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    quant=dict(
        weight=dict(type="RLQ", bits=4),
        act=dict(type="RLQ", bits=4),
        rules=[dict(pattern="spynet.*", quantize=False)],
    ),
)
train_cfg = dict(max_iters=4, val_interval=4)
param_scheduler = dict(periods=[4])
custom_hooks = [
    dict(type="CalibrationHook", max_clips=2),
    dict(type="FreezeHook", begin=3, iters=None, freeze=["*quantizer*.factor"]),
]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
