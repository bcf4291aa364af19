# The same on a uniform grid: 4-bit weights, 8-bit activations. The changes can be merged without changing the result:
# python tools/merge_lora.py configs/quantized/basicvsr_w4a8-lora_bd_vid4.py CHECKPOINT merged.pth
_base_ = ["basicvsr_nf4-lora_bd_vid4.py", "../_base_/quant/basicvsr_rules.py"]
model = dict(
    nf4=None,
    quant=dict(
        weight=dict(type="LSQ", bits=4, axis=0, observer=dict(type="MSE")),
        act=dict(bits=8),
        rules=_base_.quant_rules,
    ),
)
custom_hooks = [dict(type="CalibrationHook", max_clips=8)]
