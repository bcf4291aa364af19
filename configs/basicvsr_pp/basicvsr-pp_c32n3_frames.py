# First stage: single frames, on which a recurrent network is many times cheaper. The tail rests at first; flow network
# and alignment have nothing to do on single frames.
# python tools/warm_start.py configs/basicvsr_pp/basicvsr-pp_c32n3_clips.py \
#     data/weights/BasicVSR_Vimeo90K_BIx4.pth work_dirs/warm_start/basicvsr-pp_c32n3.safetensors
_base_ = [
    "../_base_/models/basicvsr_pp_c32n3.py",
    "../_base_/datasets/train_clips_bix4.py",
    "../_base_/schedules/small_cpu_bf16.py",
]
model = dict(float_checkpoint="work_dirs/warm_start/basicvsr-pp_c32n3.safetensors")
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        datasets=[
            dict(type="RepeatDataset", dataset=dict(_base_.filmed_clips, num_input_frames=1), times=125),
            dict(_base_.rendered_clips, num_frames=1),
        ]
    ),
)
train_cfg = dict(max_iters=1000)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=1000, T_max=970, eta_min=1e-4),
]
custom_hooks = [
    dict(type="FreezeHook", iters=500, freeze=["*spynet*", "*upsample2*", "*conv_hr*", "*conv_last*"]),
    *_base_.custom_hooks,
]
