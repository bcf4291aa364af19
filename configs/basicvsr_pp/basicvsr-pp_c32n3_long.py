# Third stage: clips of 7 frames, starting from the second; everything trains but the flow network. Scored on Vid4:
# python tools/test.py configs/basicvsr_pp/basicvsr-pp_c32n3_long.py weights/basicvsr_pp_c32n3.safetensors
_base_ = [
    "../_base_/models/basicvsr_pp_c32n3.py",
    "../_base_/datasets/train_clips_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/small_cpu_bf16.py",
]
model = dict(float_checkpoint="work_dirs/basicvsr-pp_c32n3_clips/iter_200.pth")
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(type="RepeatDataset", dataset=dict(_base_.filmed_clips, num_input_frames=7), times=125),
            dict(_base_.rendered_clips, num_frames=7),
        ]
    ),
)
train_cfg = dict(max_iters=200)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=10, end=200, T_max=190, eta_min=1e-6),
]
custom_hooks = [dict(type="FreezeHook", iters=200, freeze=["*spynet*"]), *_base_.custom_hooks]
default_hooks = dict(checkpoint=dict(interval=25), logger=dict(interval=5))
val_dataloader = None
val_evaluator = None
val_cfg = None
