# Quantization-aware training: calibrate, learn weights and steps together, let the steps rest at the end.
max_iters = 2000
settle = 400  # last iterations, in which only the weights learn
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99)),
    # a learned step is a factor on the calibrated one: its rate is relative and the same for all layers and bits
    paramwise_cfg=dict(custom_keys={"quantizer": dict(lr_mult=10.0), "spynet": dict(lr_mult=0.25)}),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = dict(type="CosineRestartLR", by_epoch=False, periods=[max_iters], restart_weights=[1], eta_min=1e-7)
custom_hooks = [
    dict(type="CalibrationHook", max_clips=8),
    dict(type="FreezeHook", begin=max_iters - settle, iters=None, freeze=["*quantizer*.factor"]),
]
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=1)
find_unused_parameters = True
