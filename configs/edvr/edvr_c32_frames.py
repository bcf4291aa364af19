# First stage of EDVR c32: the same network for windows of a single frame, several times cheaper. First the tail rests.
# python tools/warm_start.py configs/edvr/edvr_c32_frames.py \
#     data/weights/BasicVSR_Vimeo90K_BIx4.pth work_dirs/warm_start/edvr_c32_frames.safetensors
_base_ = [
    "../_base_/models/edvr_c32.py",
    "../_base_/datasets/train_windows_bix4.py",
    "../_base_/schedules/small_cpu.py",
]
model = dict(
    generator=dict(num_frames=1, center_frame_idx=0),
    float_checkpoint="work_dirs/warm_start/edvr_c32_frames.safetensors",
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        datasets=[
            dict(
                type="RepeatDataset",
                dataset=dict(_base_.filmed_clips, num_input_frames=1, pipeline=_base_.filmed_window_pipeline),
                times=125,
            ),
            dict(_base_.rendered_clips, num_frames=1, pipeline=_base_.window_augmentation),
        ]
    ),
)
train_cfg = dict(max_iters=800)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=800, T_max=770, eta_min=1e-4),
]
custom_hooks = [
    dict(type="FreezeHook", iters=300, freeze=["*upsample2*", "*conv_hr*", "*conv_last*"]),
    *_base_.custom_hooks,
]
