# BasicVSR (official Vimeo-90K BI weights) stored as NF4 and frozen; LoRA adapts it to the BD degradation.
_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/train_videos_bdx4.py",
    "../_base_/datasets/vid4_gt_bdx4.py",
    "../_base_/schedules/lora.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    nf4=dict(block=64, double=True),
    # optical flow does not change with the degradation; the last layer has 3 output channels
    lora=dict(rank=4, rules=[dict(pattern="spynet.*", lora=False), dict(pattern="conv_last", rank=3)]),
)
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
