"""The pages on flags of other programs name every flag of each, and none that it does not have."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"

NIR = """
dataset use_tv_split tv_split_by_samples tv_split_perc completed no_train_metrics no_test_metrics
evaluation_metrics evaltypes storage_metrics store_improvements gpu savename source_path save_path
lr fc_lr n_epochs kernels bs seed scheduler gamma decay tau augmentation warmup evaluate_on_cpu
internal_split optim loss batch_mining embed_dim arch not_pretrained use_float16 log_online
wandb_key project group loss_nir_w_align loss_nir_proxy_lrmulti loss_nir_lrmulti loss_nir_logmatch
loss_nir_pos_alpha loss_nir_neg_alpha loss_nir_margin loss_nir_delta loss_nir_pair_perc
loss_nir_noise loss_nir_nf_cond_mode loss_nir_nf_fc_depth loss_nir_nf_fc_width loss_nir_nf_cblocks
loss_nir_nf_fc_dropout loss_nir_nf_clamp_alpha loss_nir_nf_fc_init loss_contrastive_pos_margin
loss_contrastive_neg_margin loss_triplet_margin loss_s2sd_source loss_s2sd_target loss_s2sd_T
loss_s2sd_w loss_s2sd_pool_aggr loss_s2sd_target_dims loss_s2sd_feat_distill loss_s2sd_feat_w
loss_s2sd_feat_distill_delay loss_margin_margin loss_margin_beta_lr loss_margin_beta loss_margin_nu
loss_margin_beta_constant loss_oproxy_mode loss_oproxy_lrmulti loss_oproxy_pos_alpha
loss_oproxy_neg_alpha loss_oproxy_pos_delta loss_oproxy_neg_delta loss_npair_l2
loss_multisimilarity_dim loss_multisimilarity_pos_weight loss_multisimilarity_neg_weight
loss_multisimilarity_margin loss_multisimilarity_pos_thresh loss_multisimilarity_neg_thresh
loss_softmax_lr loss_softmax_temperature loss_arcface_lr loss_arcface_angular_margin
loss_arcface_feature_scale miner_distance_lower_cutoff miner_distance_upper_cutoff
miner_rho_distance_lower_cutoff miner_rho_distance_upper_cutoff miner_rho_distance_cp
miner_semihard_margin data_sampler data_ssl_set samples_per_class
"""
REVISITING = """
dataset use_tv_split tv_split_by_samples tv_split_perc augmentation lr fc_lr decay n_epochs kernels
bs seed scheduler gamma tau optim loss batch_mining embed_dim not_pretrained arch no_train_metrics
evaluate_on_gpu evaluation_metrics storage_metrics evaltypes gpu savename source_path save_path
ext_some_parameter log_online online_backend wandb_key comet_api_key project group
loss_contrastive_pos_margin loss_contrastive_neg_margin loss_triplet_margin loss_margin_margin
loss_margin_beta_lr loss_margin_beta loss_margin_nu loss_margin_beta_constant
loss_proxynca_lrmulti loss_npair_l2 loss_angular_alpha loss_angular_npair_ang_weight
loss_angular_npair_l2 loss_multisimilarity_pos_weight loss_multisimilarity_neg_weight
loss_multisimilarity_margin loss_multisimilarity_thresh loss_lifted_neg_margin loss_lifted_l2
loss_quadruplet_margin_alpha_1 loss_quadruplet_margin_alpha_2 loss_softtriplet_n_centroids
loss_softtriplet_margin_delta loss_softtriplet_gamma loss_softtriplet_lambda
loss_softtriplet_reg_weight loss_softtriplet_lrmulti loss_softmax_lr loss_softmax_temperature
loss_histogram_nbins loss_snr_margin loss_snr_reg_lambda loss_arcface_lr
loss_arcface_angular_margin loss_arcface_feature_scale mixup_no_manifold mixup_alpha
loss_mixupmargin_margin loss_mixupmargin_beta_lr loss_mixupmargin_beta loss_mixupmargin_nu
loss_mixupmargin_beta_constant loss_mixuptriplet_margin miner_distance_lower_cutoff
miner_distance_upper_cutoff miner_rho_distance_lower_cutoff miner_rho_distance_upper_cutoff
miner_rho_distance_cp data_sampler samples_per_class data_batchmatch_bigbs data_batchmatch_ncomps
data_storage_no_update data_d2_coreset_lambda data_gc_coreset_lim data_sampler_lowproj_dim
data_sim_measure data_gc_softened data_idx_full_prec data_mb_mom data_mb_lr
"""
TVMF = """
data dataset net-config loss-config seed workers out-dir save-all-checkpoints resume evaluate
model-file
"""
BALANCED_META_SOFTMAX = """
cfg test batch_size test_open output_logits model_dir save_feat knn feat_type dist_type
val_as_train
"""
DIVE = """
teacher_model_path teacher_model_config weight power_norm virtual_dist virtual_dist_temperature
"""
FSGL = """
dataset root dir_train_txt dir_test_txt num_classes imbanlance_rate beta lr epochs momentum
weight_decay resample_weighting label_weighting contrast_weight rho seed resume start-epoch
root_log root_model store_name fcc fcc_same fcc_half gpu
"""
# named on the page with the remark that the documentation has it and the program has not
DOCUMENTED_ONLY = {"long-tail-flags": {"imb_factor"}, "metric-learning-flags": set()}
PAGES = {
    "metric-learning-flags": (NIR, REVISITING),
    "long-tail-flags": (TVMF, BALANCED_META_SOFTMAX, DIVE, FSGL),
}
# the scores that both programs compute by default, by the names of --evaluation_metrics
METRICS = """
e_recall@1 nmi f1 mAP_1000 mAP_lim mAP_c dists@intra dists@inter dists@intra_over_inter
rho_spectrum@0 rho_spectrum@-1 rho_spectrum@1 rho_spectrum@2 rho_spectrum@10
"""


def known(page: str) -> set[str]:
    return {flag for program in PAGES[page] for flag in program.split()}


def rows(page: str) -> list[list[str]]:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return [line.strip("| ").split(" | ") for line in re.findall(r"^\| .* \|$", text, re.MULTILINE)]


def named(page: str) -> list[str]:
    """Flags in the first cells; `…suffix` follows the flag before it, from one of its `_` on."""
    flags, found = known(page), []
    for cells in rows(page):
        before = ""
        for word in re.findall(r"`(--?[\w-]+|…\w+)[^`]*`", cells[0]):
            flag = word.lstrip("-")
            if word.startswith("…") and not before:
                continue  # no flags, but names of runs
            if word.startswith("…"):
                stems = [before[: at.end()] for at in re.finditer("_", before)]
                whole = [s + word[1:] for s in stems if s + word[1:] in flags]
                flag = whole[-1] if whole else word
            if not (word.startswith("-") and not word.startswith("--")):
                found.append(flag)
                before = flag
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_of_the_originals_is_on_the_page(page):
    assert sorted(known(page) - set(named(page))) == []


@pytest.mark.parametrize("page", PAGES)
def test_no_flag_on_the_page_is_misnamed(page):
    assert sorted(set(named(page)) - known(page) - DOCUMENTED_ONLY[page]) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_flags_says_what_to_type_or_why_nothing_is_needed(page):
    for cells in rows(page):
        if cells[0].startswith("`-"):
            assert cells[1].startswith("–") or "`" in cells[1], cells


def test_every_score_of_the_originals_has_its_name_here():
    names = {cells[0].strip("`") for cells in rows("metric-learning-flags")}
    there = {one for name in names for one in name.split("`, `")}
    assert sorted(set(METRICS.split()) - there) == []
