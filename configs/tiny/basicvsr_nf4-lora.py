# For tests: LoRA on frozen NF4 weights, from random ones.
_base_ = [
    "../_base_/models/basicvsr_tiny.py",
    "../_base_/datasets/clip_folders.py",
    "../_base_/schedules/lora.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    nf4=dict(block=32),
    lora=dict(rank=2, rules=[dict(pattern="spynet.*", lora=False)]),
)
train_cfg = dict(max_iters=4, val_interval=4)
param_scheduler = dict(periods=[4])
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
