_base_ = [
    "../_base_/models/edvr_m.py",
    "../_base_/datasets/reds_window5.py",
    "../_base_/schedules/edvr_tsa_600k.py",
    "../_base_/default_runtime.py",
]

# Meant to start from the network trained without TSA:
# --cfg-options model.generator.init_cfg.type=Pretrained model.generator.init_cfg.prefix=generator.
#               model.generator.init_cfg.checkpoint=work_dirs/edvrm_wotsa_8xb4-600k_reds/iter_600000.pth
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
