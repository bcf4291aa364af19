# BasicVSR++: Adam, cosine over 600,000 iterations; SPyNet rests for 5,000 iterations, then at a quarter of the rate.
train_cfg = dict(type="IterBasedTrainLoop", max_iters=600_000, val_interval=5000)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99)),
    paramwise_cfg=dict(custom_keys={"spynet": dict(lr_mult=0.25)}),
)
param_scheduler = dict(type="CosineRestartLR", by_epoch=False, periods=[600_000], restart_weights=[1], eta_min=1e-7)
custom_hooks = [dict(type="FreezeHook", iters=5000, freeze=["*spynet*"])]
auto_scale_lr = dict(enable=False, base_batch_size=8)
find_unused_parameters = True
