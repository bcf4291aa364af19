# Small networks on a CPU: channels last, Adam with a high rate, one cosine, a moving average of the weights.
_base_ = "../default_runtime.py"
train_cfg = dict(type="IterBasedTrainLoop", max_iters=1000)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-3, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=1000, T_max=970, eta_min=1e-5),
]
custom_hooks = [
    dict(type="StopAtNaNHook"),
    dict(type="ChannelsLastHook"),
    dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.01, update_buffers=True),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100, max_keep_ckpts=3))
visualizer = dict(type="Visualizer", vis_backends=[dict(type="TensorboardVisBackend")])
log_processor = dict(window_size=20)
randomness = dict(seed=0)
find_unused_parameters = True
