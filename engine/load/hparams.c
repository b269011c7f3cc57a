/* hparams.c - from a checkpoint's keys to struct hparams.
 *
 * A row says everything about one number, so that a new hyper-parameter is one row and one field.
 * The invariant: what leaves hparams_read is consistent, later code does not check again. */
#include "engine/load/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const scaling_names[] = {
    [ROPE_PLAIN] = "none", [ROPE_LINEAR] = "linear", [ROPE_LLAMA3] = "llama3",
    [ROPE_YARN] = "yarn",  [ROPE_LONG] = "longrope",
};
enum { N_SCALING = sizeof scaling_names / sizeof scaling_names[0] };

const char *hparams_scaling_name(enum rope_scaling s)
{
    return (unsigned)s < N_SCALING ? scaling_names[s] : "?";
}

static const struct value *row_value(const struct checkpoint *c, const char *architecture,
                                     const struct hparam_row *row, char *key, size_t size)
{
    bool hf = c->format->names == NAMES_HF;

    if (!(hf ? row->hf : row->gguf))
        return NULL;
    if (hf)
        snprintf(key, size, "%s", row->hf);
    else
        snprintf(key, size, "%s.%s", architecture, row->gguf);
    return checkpoint_key(c, key);
}

/* A number; of an array (one value a layer) the value that all elements share. */
static enum status number_of(const struct checkpoint *c, const struct value *v, const char *key,
                             double *out)
{
    struct value e;
    double first = 0;

    if (v->kind == VALUE_INT || v->kind == VALUE_FLOAT || v->kind == VALUE_BOOL) {
        *out = v->number;
        return OK;
    }
    if (v->kind != VALUE_ARRAY || v->n == 0 || !checkpoint_at(c, v, 0, &e))
        return fail(ERR_FORMAT, "%s: key %s is not a number", c->path, key);
    first = e.number;
    for (int64_t i = 1; i < v->n; i++) {
        checkpoint_at(c, v, i, &e);
        if (e.number != first)
            return fail(ERR_UNSUPPORTED,
                        "%s: key %s differs from layer to layer, which this "
                        "network cannot do",
                        c->path, key);
    }
    *out = first;
    return OK;
}

/* One number for all layers, or one each. */
static enum status read_each(const struct checkpoint *c, const struct hparam_row *row,
                             const struct value *v, const char *key, struct hparams *hp)
{
    int32_t *out = (int32_t *)(void *)((char *)hp + row->offset);
    double x = row->fallback;
    struct value e;

    if (v && v->kind == VALUE_ARRAY && v->n != hp->n_layer)
        return fail(ERR_FORMAT, "%s: key %s has %lld numbers for %d layers", c->path, key,
                    (long long)v->n, hp->n_layer);
    if (v && v->kind == VALUE_ARRAY) {
        for (int64_t i = 0; i < v->n; i++) {
            if (!checkpoint_at(c, v, i, &e))
                return fail(ERR_FORMAT, "%s: key %s is not a list of numbers", c->path, key);
            x = e.number;
            if (!(x >= row->least && x <= row->most) || x != floor(x))
                return fail(ERR_FORMAT, "%s: key %s is %g for layer %lld, expected %g to %g",
                            c->path, key, x, (long long)i, row->least, row->most);
            out[i] = (int32_t)x;
        }
        return OK;
    }
    if (v)
        TRY(number_of(c, v, key, &x));
    if (!(x >= row->least && x <= row->most) || x != floor(x))
        return fail(ERR_FORMAT, "%s: key %s is %g, expected %g to %g", c->path, key, x, row->least,
                    row->most);
    for (int l = 0; l < NET_MAX_LAYERS; l++)
        out[l] = (int32_t)x;
    return OK;
}

static enum status read_scaling(const struct checkpoint *c, const struct value *v, const char *key,
                                enum rope_scaling *out)
{
    if (v->kind != VALUE_STRING)
        return fail(ERR_FORMAT, "%s: key %s is not a string", c->path, key);
    for (int i = 0; i < N_SCALING; i++) {
        if (bytes_equal(v->text, scaling_names[i])) {
            *out = (enum rope_scaling)i;
            return OK;
        }
    }
    /* "dynamic" raises the base beyond the context that was trained, which is not gone beyond. */
    if (v->text.n == 0 || bytes_equal(v->text, "default") || bytes_equal(v->text, "dynamic"))
        return OK;
    return fail(ERR_UNSUPPORTED,
                "%s: key %s is \"%.*s\" (supported: none linear llama3 yarn longrope)", c->path,
                key, (int)(v->text.n < 64 ? v->text.n : 64), v->text.p);
}

static enum status check_silu(const struct checkpoint *c, const struct value *v, const char *key)
{
    bool string = v->kind == VALUE_STRING;

    if (string && (bytes_equal(v->text, "silu") || bytes_equal(v->text, "swish")))
        return OK;
    return fail(ERR_UNSUPPORTED, "%s: key %s is \"%.*s\", this network has silu", c->path, key,
                string ? (int)(v->text.n < 64 ? v->text.n : 64) : 0, string ? v->text.p : "");
}

static enum status read_row(const struct checkpoint *c, const char *architecture,
                            const struct hparam_row *row, struct hparams *hp)
{
    char key[160];
    const struct value *v = row_value(c, architecture, row, key, sizeof key);
    void *field = (char *)hp + row->offset;
    double x = row->fallback;

    if (!v && row->required)
        return fail(ERR_FORMAT, "%s: key %s is missing", c->path, key);
    if (row->kind == HPARAM_EACH)
        return read_each(c, row, v, key, hp);
    if (!v && x == 0)
        return OK;
    if (v && row->kind == HPARAM_SCALING)
        return read_scaling(c, v, key, field);
    if (v && row->kind == HPARAM_SILU)
        return check_silu(c, v, key);
    if (v)
        TRY(number_of(c, v, key, &x));
    if (!isfinite(x) || ((row->least != 0 || row->most != 0) && (x < row->least || x > row->most)))
        return row->kind == HPARAM_REFUSE
                   ? fail(ERR_UNSUPPORTED, "%s: key %s is %g, which this network cannot do",
                          c->path, key, x)
                   : fail(ERR_FORMAT, "%s: key %s is %g, expected %g to %g", c->path, key, x,
                          row->least, row->most);
    if (row->kind == HPARAM_INT && x != floor(x))
        return fail(ERR_FORMAT, "%s: key %s is %g, expected an integer", c->path, key, x);
    if (row->kind == HPARAM_INT)
        *(int32_t *)field = (int32_t)x;
    else if (row->kind == HPARAM_FLOAT)
        *(float *)field = (float)x;
    return OK;
}

/* What the keys leave open, by the conventions of the formats. */
static void derive(struct hparams *hp)
{
    bool yarn = hp->rope_scaling == ROPE_YARN;

    if (!hp->n_kv_head)
        hp->n_kv_head = hp->n_head;
    if (!hp->head_dim && hp->n_head)
        hp->head_dim = hp->n_embd / hp->n_head;
    if (!hp->rope_dim)
        hp->rope_dim = hp->head_dim;
    if (!hp->rope_ctx)
        hp->rope_ctx = hp->n_ctx;
    if (hp->rope_factor == 0)
        hp->rope_factor = 1;
    if (hp->rope_low == 0)
        hp->rope_low = 1;
    if (hp->rope_high == 0)
        hp->rope_high = yarn ? 32 : 4; /* beta_fast of YaRN, high_freq_factor of Llama 3 */
    if (hp->rope_attn == 0)
        hp->rope_attn = 1;
    for (int l = 0; l < hp->n_layer; l++) {
        hp->kind[l] = MEMORY_KV;
        hp->index[l] = (int16_t)l;
    }
    hp->n_kind[MEMORY_KV] = hp->n_layer;
}

static enum status check(const struct checkpoint *c, const struct hparams *hp)
{
    if (hp->head_dim < 1)
        return fail(ERR_FORMAT, "%s: %d heads do not fit an embedding of %d", c->path, hp->n_head,
                    hp->n_embd);
    if (hp->n_head % hp->n_kv_head != 0)
        return fail(ERR_FORMAT, "%s: %d query heads cannot share %d key heads evenly", c->path,
                    hp->n_head, hp->n_kv_head);
    if (hp->rope_dim > hp->head_dim || hp->rope_dim % 2 != 0)
        return fail(ERR_FORMAT,
                    "%s: rotary dimension %d, expected an even number up to the head "
                    "size %d",
                    c->path, hp->rope_dim, hp->head_dim);
    return OK;
}

/* A GGUF file with a factor and no type means linear; the oldest call the factor scale_linear. */
static enum status read_old_scaling(const struct checkpoint *c, const char *architecture,
                                    struct hparams *hp)
{
    static const struct hparam_row scale = {"rope.scale_linear",
                                            NULL,
                                            offsetof(struct hparams, rope_factor),
                                            HPARAM_FLOAT,
                                            false,
                                            0,
                                            0,
                                            1e4};
    char key[160];

    snprintf(key, sizeof key, "%s.rope.scaling.type", architecture);
    if (c->format->names != NAMES_GGUF || checkpoint_key(c, key))
        return OK;
    if (hp->rope_factor == 0)
        TRY(read_row(c, architecture, &scale, hp));
    if (hp->rope_factor != 0)
        hp->rope_scaling = ROPE_LINEAR;
    return OK;
}

enum status hparams_read(const struct checkpoint *c, const char *architecture,
                         const struct hparam_row *rows, struct hparams *hp)
{
    memset(hp, 0, sizeof *hp);
    for (const struct hparam_row *row = rows; row->gguf || row->hf; row++)
        TRY(read_row(c, architecture, row, hp));
    TRY(read_old_scaling(c, architecture, hp));
    derive(hp);
    return check(c, hp);
}

/* Llama 3.1: long waves are stretched by `factor`, short ones kept, those between blended. */
static double llama3_frequency(const struct hparams *hp, double f)
{
    double wave = 2 * M_PI / f, low = hp->rope_ctx / (double)hp->rope_low;
    double high = hp->rope_ctx / (double)hp->rope_high, smooth;

    if (wave < high)
        return f;
    if (wave > low)
        return f / hp->rope_factor;
    smooth = (hp->rope_ctx / wave - hp->rope_low) / ((double)hp->rope_high - hp->rope_low);
    return (1 - smooth) * f / hp->rope_factor + smooth * f;
}

/* YaRN (Peng et al. 2023): the dimension whose wave turns `turns` times in the original context. */
static double yarn_dimension(const struct hparams *hp, double turns)
{
    return hp->rope_dim * log(hp->rope_ctx / (turns * 2 * M_PI)) / (2 * log(hp->rope_base));
}

static double yarn_frequency(const struct hparams *hp, int i, double f)
{
    double low = yarn_dimension(hp, hp->rope_high), high = yarn_dimension(hp, hp->rope_low), ramp;

    low = fmax(hp->rope_whole ? floor(low) : low, 0);
    high = fmin(hp->rope_whole ? ceil(high) : high, hp->rope_dim - 1);
    ramp = (i - low) / fmax(high - low, 0.001); /* 0.001: the source's guard against 0 / 0 */
    ramp = fmin(fmax(ramp, 0), 1);
    return f / hp->rope_factor * ramp + f * (1 - ramp);
}

void hparams_rope(const struct hparams *hp, const float *factors, float *inv_freq,
                  float *attn_factor)
{
    *attn_factor = hp->rope_attn;
    if (hp->rope_scaling == ROPE_YARN && hp->rope_factor > 1)
        *attn_factor *= 0.1f * logf(hp->rope_factor) + 1.0f;
    for (int i = 0; i < hp->rope_dim / 2; i++) {
        /* in float, as the reference implementations compute it */
        double f = 1.0f / powf(hp->rope_base, (float)(2 * i) / (float)hp->rope_dim);

        if (hp->rope_scaling == ROPE_LINEAR || hp->rope_scaling == ROPE_LONG)
            f /= hp->rope_factor;
        else if (hp->rope_scaling == ROPE_LLAMA3)
            f = llama3_frequency(hp, f);
        else if (hp->rope_scaling == ROPE_YARN)
            f = yarn_frequency(hp, i, f);
        inv_freq[i] = (float)(factors ? f / factors[i] : f);
    }
}
