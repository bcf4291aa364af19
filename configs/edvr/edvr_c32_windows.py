# EDVR with 32 channels from a warm start, on windows of 5 frames. The tail rests at first.
# python tools/warm_start.py configs/edvr/edvr_c32_windows.py \
#     data/weights/BasicVSR_Vimeo90K_BIx4.pth work_dirs/warm_start/edvr_c32.safetensors
_base_ = [
    "../_base_/models/edvr_c32.py",
    "../_base_/datasets/train_windows_bix4.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/small_cpu.py",
]
model = dict(float_checkpoint="work_dirs/warm_start/edvr_c32.safetensors")
train_dataloader = dict(batch_size=2)
custom_hooks = [
    dict(type="FreezeHook", iters=300, freeze=["*upsample2*", "*conv_hr*", "*conv_last*"]),
    *_base_.custom_hooks,
]
val_dataloader = None
val_evaluator = None
val_cfg = None
