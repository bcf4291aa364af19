# For tests: LoRA on a uniform grid, from random weights.
_base_ = "basicvsr_nf4-lora.py"
model = dict(
    nf4=None,
    quant=dict(weight=dict(type="LSQ", bits=4), act=dict(bits=8), rules=[dict(pattern="spynet.*", quantize=False)]),
    lora=dict(rules=[]),
)
custom_hooks = [dict(type="CalibrationHook", max_clips=2)]
