/* How config.json says that positions are rotated: rope_parameters, or the older rope_theta and rope_scaling. */
#include <math.h>
#include <stdio.h>

#include "inference/worker/safetensors/folder_parts.h"

enum { MOST_DIVISORS = 4096 };

static void pair_type(struct folder *f, const char *type)
{
    char key[64];
    snprintf(key, sizeof key, "%s.rope.scaling.type", f->family);
    gguf_pairs_str(&f->pairs, key, str_from(type));
}

/* cos and sin are multiplied by "factor" below. GGUF's readers grow them by 1 + 0.1 ln(stretching) by themselves,
 * unless the file says that scores grow instead, as DeepSeek's do. */
static void read_yarn(struct folder *f, struct fields *r)
{
    double stretching = fields_real(r, "factor", 1);
    double mscale = fields_real(r, "mscale", 0);
    double mscale_all = fields_real(r, "mscale_all_dim", 0);
    double step = 0.1 * log(stretching);
    double by_itself = 1 + step;
    double factor = mscale > 0 && mscale_all > 0 ? (1 + mscale * step) / (1 + mscale_all * step) : by_itself;
    bool scores_grow = strcmp(f->family, "deepseek2") == 0 && mscale_all > 0;
    factor = fields_real(r, "attention_factor", factor);
    if (!fields_bool(r, "truncate", true)) {
        fields_refuse(r, "truncate", "is false, which is not supported");
    }
    pair_type(f, "yarn");
    folder_pair_f32(f, "rope.scaling.factor", stretching);
    folder_pair_u32(f, "rope.scaling.original_context_length",
                    fields_required(r, "original_max_position_embeddings"));
    folder_pair_f32(f, "rope.scaling.yarn_beta_fast", fields_real(r, "beta_fast", 32));
    folder_pair_f32(f, "rope.scaling.yarn_beta_slow", fields_real(r, "beta_slow", 1));
    if (scores_grow) {
        folder_pair_f32(f, "rope.scaling.yarn_log_multiplier", 0.1 * mscale_all);
    }
    folder_pair_f32(f, "rope.scaling.attn_factor", scores_grow ? factor : factor / by_itself);
}

/* Llama 3.1: slow frequencies are divided, fast ones are not, between two wavelengths by a ramp. GGUF has the
 * divisors as a tensor. */
static void read_llama3(struct folder *f, struct fields *r, double theta, uint32_t dims)
{
    double factor = fields_real(r, "factor", 1);
    double low = fields_real(r, "low_freq_factor", 1);
    double high = fields_real(r, "high_freq_factor", 4);
    double original = fields_required(r, "original_max_position_embeddings");
    if (!(factor >= 1 && low > 0 && high > low && theta > 1) || dims / 2 > MOST_DIVISORS) {
        fields_refuse(r, "factor, low_freq_factor or high_freq_factor", "makes no sense");
    }
    if (r->rc) {
        return;
    }
    f->divisor_count = dims / 2;
    f->divisors = arena_calloc(&f->arena, f->divisor_count * sizeof *f->divisors + 1);
    for (uint32_t i = 0; i < f->divisor_count; i++) {
        double wavelength = 2 * M_PI * pow(theta, 2.0 * i / dims);
        double smooth = fmin(1, fmax(0, (original / wavelength - low) / (high - low)));
        f->divisors[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
}

static void read_scaling(struct folder *f, struct fields *r, double theta, uint32_t dims)
{
    struct str type = fields_str(r, fields_find(r, "rope_type") ? "rope_type" : "type", "default");
    if (r->rc || str_is(type, "default")) {
        return;
    }
    if (str_is(type, "yarn")) {
        read_yarn(f, r);
    } else if (str_is(type, "llama3") && strcmp(f->family, "llama") == 0) {
        read_llama3(f, r, theta, dims);
    } else if (str_is(type, "linear")) {
        pair_type(f, "linear");
        folder_pair_f32(f, "rope.scaling.factor", fields_real(r, "factor", 1));
    } else {
        r->rc = err_set(r->err, ERR_INVALID, "%s: rope_type \"%.40s\" is not supported", r->file, type.p);
    }
}

/* Of layers with a window: a rotation of their own, never stretched. */
static void read_local(struct folder *f, struct fields *r, double theta)
{
    struct str type = fields_str(r, "rope_type", "default");
    if (!str_is(type, "default")) {
        fields_refuse(r, "rope_type", "is not default");
    }
    folder_pair_f32(f, "rope.freq_base_swa", fields_real(r, "rope_theta", theta));
}

int folder_read_rope(struct folder *f, struct fields *config, uint32_t dims)
{
    bool is_new = fields_find(config, "rope_parameters") != NULL;
    bool has_local = strcmp(f->family, "gemma3") == 0;
    struct fields params;
    struct fields global;
    struct fields local = {.arena = config->arena, .err = config->err};
    fields_open_member(config, &params, is_new ? "rope_parameters" : "rope_scaling");
    global = params;
    if (is_new && has_local) {
        if (!fields_find(&params, "full_attention")) {
            fields_refuse(&params, "full_attention", "is missing");
        }
        fields_open_member(&params, &global, "full_attention");
        fields_open_member(&params, &local, "sliding_attention");
    }
    double theta = fields_real(config, "rope_theta", has_local ? 1e6 : 1e4);
    theta = fields_real(&global, "rope_theta", theta);
    folder_pair_f32(f, "rope.freq_base", theta);
    read_scaling(f, &global, theta, dims);
    if (has_local) {
        read_local(f, &local, fields_real(config, "rope_local_base_freq", 1e4));
        fields_close_member(config, &local);
    }
    fields_close_member(config, &params);
    fields_close_member(config, &global);
    return config->rc;
}
