# basicvsr_mixed-16_tuned_vid4.py at 25 BOPs/MAC, those of 5 bit everywhere.
_base_ = ["basicvsr_mixed-16_tuned_vid4.py", "../_base_/quant/basicvsr_mixed-25.json"]
model = dict(quant=dict(rules=[*_base_.quant_rules, *_base_.mixed_25]))
