/* hf_x.c - activations that a checkpoint was calibrated for, or trained with: those of FP8 weights,
 * and of NVFP4 and MXFP4 ones.
 *
 * A tensor name.input_scale is one scale for all rows (ModelOpt, compressed-tensors, vLLM's fp8).
 * Without one the configuration says whether each row gets its own as it comes:
 *   activation_scheme "dynamic"        fp8 as DeepSeek has it, fbgemm_fp8 always
 *   quant_algo "..._PER_TOKEN"         ModelOpt
 *   config_groups.<g>.input_activations of 8-bit floats    compressed-tensors; which group a weight
 *       is of, regular expressions say, so groups of 8-bit float weights must agree. They count as
 *       one where their weights share scales alike (strategy), which a weight's own scales tell.
 * fp4: quant_algo "NVFP4" (ModelOpt), or input_activations of 4-bit floats in every group of 4-bit
 *       float weights. Each row then has a scale of its own, finer than the one that is declared.
 * Declared scales for 128 columns become scales a row; what that costs is a line of
 * docs/measurements/2026-11-21-activations.md. */
#include "engine/load/hf_x.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/load/made.h"

enum { MAX_NAME = 1100 };

static bool says(const struct checkpoint *c, const char *key, const char *text)
{
    char said[64];

    return strcmp(made_config_text(c, key, said, sizeof said), text) == 0;
}

/* As config_groups call it: how the scales of this weight are shared. */
static const char *strategy_of(const struct ckpt_tensor *t)
{
    const struct made *m = t->made;

    if (!m->scale || made_count(m->scale) == 1)
        return "tensor";
    return m->n_groups == 1 ? "channel" : m->scale_n > 1 ? "block" : "group";
}

/* Member `what` of a group: is it floats of so many bits? */
static bool is_float(const struct checkpoint *c, const char *group, const char *what, int bits)
{
    char key[192];

    snprintf(key, sizeof key, "%s%s.num_bits", group, what);
    if (made_config(c, key, 0) != bits)
        return false;
    snprintf(key, sizeof key, "%s%s.type", group, what);
    return says(c, key, "float");
}

/* Do all groups that this weight can be of declare such activations? */
static bool groups_declare(const struct checkpoint *c, const struct ckpt_tensor *t)
{
    const char *strategy = strategy_of(t);
    char group[128], key[160];
    bool any = false;

    for (int i = 0; i < MADE_GROUPS && made_group(c, i, group, sizeof group); i++) {
        if (!is_float(c, group, "weights", 8))
            continue;
        snprintf(key, sizeof key, "%sweights.strategy", group);
        if (checkpoint_key(c, key) && !says(c, key, strategy))
            continue;
        if (!is_float(c, group, "input_activations", 8))
            return false;
        any = true;
    }
    return any;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), e = strlen(end);

    return n >= e && strcmp(s + n - e, end) == 0;
}

/* In lower case; "": none. */
static const char *algorithm(const struct checkpoint *c, char *said, size_t size)
{
    made_config_text(c, "quantization_config.quant_algo", said, size);
    if (!*said) /* hf_quant_config.json has it one level down */
        made_config_text(c, "quantization_config.quantization.quant_algo", said, size);
    return said;
}

static bool declares_rows(const struct checkpoint *c, const struct ckpt_tensor *t)
{
    char said[64];

    return says(c, "quantization_config.activation_scheme", "dynamic") ||
           says(c, "quantization_config.quant_method", "fbgemm_fp8") ||
           ends_with(algorithm(c, said, sizeof said), "_per_token") || groups_declare(c, t);
}

enum x_type hf_x_declared_fp4(const struct checkpoint *c)
{
    char said[64], group[128];
    int n = 0;

    if (strcmp(algorithm(c, said, sizeof said), "nvfp4") == 0)
        return X_FP4;
    for (int i = 0; i < MADE_GROUPS && made_group(c, i, group, sizeof group); i++) {
        if (!is_float(c, group, "weights", 4))
            continue;
        if (!is_float(c, group, "input_activations", 4))
            return X_EXACT;
        n++;
    }
    return n > 0 ? X_FP4 : X_EXACT;
}

enum status hf_x_declared(const struct checkpoint *c, const char *name, size_t n,
                          struct ckpt_tensor *t)
{
    char other[MAX_NAME];
    int size = snprintf(other, sizeof other, "%.*s.input_scale", (int)n, name);
    const struct ckpt_tensor *s = size < MAX_NAME ? checkpoint_tensor(c, other) : NULL;

    if (!s) {
        t->x = declares_rows(c, t) ? X_FP8 : X_EXACT;
        return OK;
    }
    t->x_scale = made_count(s) == 1 && made_is_float(s) ? made_number(c, s, 0) : 0;
    if (!(t->x_scale >= 0x1p-100f) || !isfinite(t->x_scale))
        return fail(ERR_FORMAT, "tensor %s: expected one positive number", s->name);
    t->x = X_FP8;
    return OK;
}
