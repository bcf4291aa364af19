# Second stage: clips of 3 frames, starting from the first stage, to learn the alignment. Flow network and tail rest.
_base_ = "basicvsr-pp_c32n3_frames.py"
model = dict(float_checkpoint="work_dirs/basicvsr-pp_c32n3_frames/iter_500.pth")
train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        datasets=[
            dict(type="RepeatDataset", dataset=dict(_base_.filmed_clips, num_input_frames=3), times=125),
            dict(_base_.rendered_clips, num_frames=3),
        ]
    ),
)
train_cfg = dict(max_iters=400)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=400, T_max=380, eta_min=1e-4),
]
custom_hooks = [
    dict(type="FreezeHook", iters=400, freeze=["*spynet*", "*upsample2*", "*conv_hr*", "*conv_last*"]),
    *_base_.custom_hooks[1:],
]
default_hooks = dict(checkpoint=dict(interval=50), logger=dict(interval=10))
