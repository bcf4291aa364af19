# Post-training quantization: calibrate on a few batches of the training data, save ptq.pth, validate.
train_cfg = dict(type="PTQLoop", max_clips=8, passes=1)
# The Runner wants an optimizer beside every training loop; nothing is ever stepped.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.0))
param_scheduler = None
randomness = dict(seed=0)
