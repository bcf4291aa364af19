# Fine-tuning of a quantized network on a GPU, from trained weights: some ten minutes. Ranges come from the float
# network's signals: below 4 bit the quantized recurrence amplifies its errors until it is trained.
_base_ = "tuned_cpu.py"
max_iters = 340
settle = 50
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=max_iters, T_max=max_iters - 20, eta_min=1e-6),
]
custom_hooks = [
    dict(type="StopAtNaNHook"),
    dict(type="ChannelsLastHook"),
    dict(type="CalibrationHook", max_clips=4, signals="float"),
    dict(type="FreezeHook", begin=max_iters - settle, iters=None, freeze=["*quantizer*.factor", "*quantizer*.offset"]),
]
default_hooks = dict(checkpoint=dict(interval=max_iters // 2))
