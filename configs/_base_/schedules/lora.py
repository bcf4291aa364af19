# LoRA on a frozen quantized network: a high rate, as is usual for it, one cosine.
max_iters = 1000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-3, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = dict(type="CosineRestartLR", by_epoch=False, periods=[max_iters], restart_weights=[1], eta_min=1e-7)
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=1)
find_unused_parameters = True
