# EDVR: Adam, 600,000 iterations in four cosine periods.
train_cfg = dict(type="IterBasedTrainLoop", max_iters=600_000, val_interval=5000)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=4e-4, betas=(0.9, 0.999)))
param_scheduler = dict(
    type="CosineRestartLR",
    by_epoch=False,
    periods=[150_000, 150_000, 150_000, 150_000],
    restart_weights=[1, 0.5, 0.5, 0.5],
    eta_min=1e-7,
)
