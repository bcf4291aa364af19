# Second stage: clips of 3 frames, starting from the first stage, to learn the alignment, which trains at five times the
# rate. Flow network and tail rest.
_base_ = "basicvsr-pp_c32n3_frames.py"
model = dict(float_checkpoint="work_dirs/basicvsr-pp_c32n3_frames/iter_700.pth")
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        datasets=[
            dict(type="RepeatDataset", dataset=dict(_base_.filmed_clips, num_input_frames=3), times=125),
            dict(_base_.rendered_clips, num_frames=3),
        ]
    ),
)
train_cfg = dict(max_iters=200)
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    paramwise_cfg=dict(custom_keys={"deform_align": dict(lr_mult=5.0)}),
)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=10, end=200, T_max=190, eta_min=1e-6),
]
custom_hooks = [
    dict(type="FreezeHook", iters=200, freeze=["*spynet*", "*upsample2*", "*conv_hr*", "*conv_last*"]),
    *_base_.custom_hooks[1:],
]
default_hooks = dict(checkpoint=dict(interval=50), logger=dict(interval=10))
