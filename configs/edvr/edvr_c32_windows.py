# Second stage of EDVR c32: windows of 5 frames, starting from the first stage; everything trains. Scored on Vid4:
# python tools/inflate_weights.py configs/edvr/edvr_c32_windows.py work_dirs/edvr_c32_frames/iter_800.pth \
#     work_dirs/warm_start/edvr_c32.safetensors
# python tools/test.py configs/edvr/edvr_c32_windows.py weights/edvr_c32.safetensors
_base_ = [
    "../_base_/models/edvr_c32.py",
    "../_base_/datasets/train_windows_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/small_cpu.py",
]
model = dict(float_checkpoint="work_dirs/warm_start/edvr_c32.safetensors")
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
train_cfg = dict(max_iters=700)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=700, T_max=680, eta_min=1e-6),
]
val_dataloader = None
val_evaluator = None
val_cfg = None
