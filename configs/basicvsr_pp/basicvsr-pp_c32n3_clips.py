# Second stage: clips of 5 frames, starting from the first stage; only the flow network rests.
_base_ = [
    "../_base_/models/basicvsr_pp_c32n3.py",
    "../_base_/datasets/train_clips_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/small_cpu.py",
]
model = dict(float_checkpoint="work_dirs/basicvsr-pp_c32n3_frames/iter_500.pth")
train_cfg = dict(max_iters=500)
optim_wrapper = dict(
    optimizer=dict(lr=8e-4),
    paramwise_cfg=dict(custom_keys={"upsample2": dict(lr_mult=0.3), "conv_hr": dict(lr_mult=0.3)}),
)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=500, T_max=480, eta_min=1e-5),
]
custom_hooks = [dict(type="FreezeHook", iters=500, freeze=["*spynet*"]), *_base_.custom_hooks]
default_hooks = dict(checkpoint=dict(interval=50), logger=dict(interval=10))
val_dataloader = None
val_evaluator = None
val_cfg = None
