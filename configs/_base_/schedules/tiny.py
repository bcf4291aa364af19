# For tests: a few iterations.
train_cfg = dict(type="IterBasedTrainLoop", max_iters=6, val_interval=6)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-3, betas=(0.9, 0.99)),
    paramwise_cfg=dict(custom_keys={"spynet": dict(lr_mult=0.25)}),
)
param_scheduler = dict(type="CosineRestartLR", by_epoch=False, periods=[6], restart_weights=[1], eta_min=1e-7)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=1)
find_unused_parameters = True
