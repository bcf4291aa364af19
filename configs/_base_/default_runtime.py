default_scope = "vsrq"

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=100),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="SafeCheckpointHook", interval=5000, by_epoch=False, max_keep_ckpts=10),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    exact_resume=dict(type="ExactResumeHook"),
    plain_checkpoint=dict(type="PlainCheckpointHook"),
    schedule_guard=dict(type="ScheduleGuardHook"),
    strict_load=dict(type="StrictLoadHook"),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)

log_level = "INFO"
log_processor = dict(type="LogProcessor", window_size=100, by_epoch=False)

load_from = None
resume = False
