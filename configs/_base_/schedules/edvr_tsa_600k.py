# EDVR with TSA: during the first 5,000 iterations only the fusion trains; the other weights come from a network
# trained without TSA. 600,000 iterations in five cosine periods.
train_cfg = dict(type="IterBasedTrainLoop", max_iters=600_000, val_interval=5000)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2e-4, betas=(0.9, 0.999)))
param_scheduler = dict(
    type="CosineRestartLR",
    by_epoch=False,
    periods=[50_000, 100_000, 150_000, 150_000, 150_000],
    restart_weights=[1, 1, 1, 1, 1],
    eta_min=1e-7,
)
custom_hooks = [dict(type="FreezeHook", iters=5000, train_only=["*fusion*"])]
find_unused_parameters = True
