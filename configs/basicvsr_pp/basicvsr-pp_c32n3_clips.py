# Second stage: clips of 5 frames, starting from the first stage; only the flow network rests.
_base_ = [
    "../_base_/models/basicvsr_pp_c32n3.py",
    "../_base_/datasets/train_clips_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/small_cpu.py",
]
model = dict(float_checkpoint="work_dirs/basicvsr-pp_c32n3_frames/iter_800.pth")
optim_wrapper = dict(
    optimizer=dict(lr=6e-4),
    paramwise_cfg=dict(custom_keys={"upsample2": dict(lr_mult=0.3), "conv_hr": dict(lr_mult=0.3)}),
)
custom_hooks = [dict(type="FreezeHook", iters=1000, freeze=["*spynet*"]), *_base_.custom_hooks]
val_dataloader = None
val_evaluator = None
val_cfg = None
