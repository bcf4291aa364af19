# basicvsr_mixed-16_tuned_vid4.py with temporal residuals where they were estimated to pay, trained through their closed
# loop: bits and residuals shared out at 16 BOPs/MAC.
_base_ = ["basicvsr_mixed-16_tuned_vid4.py", "../_base_/quant/basicvsr_res-mixed-16.json"]
model = dict(
    quant=dict(rules=[*_base_.quant_rules, *_base_.res_mixed_16_keys]),
    residual=dict(
        weight=dict(type="LSQ", axis=0, observer=dict(type="MSE")),
        act=dict(type="LSQPlus", observer=dict(type="MSE")),
        coefficient="learned",
        rules=[*_base_.residual_rules, *_base_.res_mixed_16_residuals],
    ),
)
