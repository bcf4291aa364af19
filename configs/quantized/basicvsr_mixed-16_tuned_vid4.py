# BasicVSR (official Vimeo-90K BI weights) fine-tuned at 16 BOPs/MAC, those of 4 bit everywhere, shared out between the
# layers: LSQ steps per output channel, affine LSQ+ activations, taught by the float network alone.
_base_ = [
    "../_base_/quant/basicvsr_tuned.py",
    "../_base_/schedules/tuned_gpu.py",
    "../_base_/quant/basicvsr_mixed-16.json",
]
model = dict(quant=dict(rules=[*_base_.quant_rules, *_base_.mixed_16]))
train_dataloader = dict(batch_size=8, num_workers=3)
