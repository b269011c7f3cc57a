/* params.c - one table, and the fields that are more than a number. */
#include "api/params.h"

#include <stdio.h>
#include <string.h>

#define AT(member) offsetof(struct params, member)
static const char later[] = "constrained output is not built yet";

/* clang-format off */
static const struct field stream_options[] = {
    {"include_usage", FIELD_BOOL, 0, 0, 0, AT(include_usage), NULL, NULL},
    {0},
};
static const struct field response_format[] = {
    {"type", FIELD_TEXT, FIELD_NEEDED, 0, 0, AT(response_type), NULL, NULL},
    {0},
};
/* The bounds of the penalties are OpenAI's; of repetition_penalty NIM's. */
static const struct field table[] = {
    /* name                       type           flags         min   max              offset */
    {"model",                     FIELD_TEXT,    0,            0,    0,               AT(model),                 NULL, NULL},
    {"max_tokens",                FIELD_INT,     0,            0,    0x1p62,          AT(max_tokens),            NULL, NULL},
    {"max_completion_tokens",     FIELD_INT,     0,            0,    0x1p62,          AT(max_completion_tokens), NULL, NULL},
    {"max_output_tokens",         FIELD_INT,     0,            0,    0x1p62,          AT(max_output_tokens),     NULL, NULL},
    {"min_tokens",                FIELD_INT,     0,            0,    0x1p62,          AT(min_tokens),            NULL, NULL},
    {"n",                         FIELD_INT,     0,            1,    JOB_MAX_CHOICES, AT(n),                     NULL, NULL},
    {"seed",                      FIELD_INT,     0,            0,    0,               AT(seed),                  NULL, NULL},
    {"temperature",               FIELD_NUMBER,  0,            0,    100,             AT(temperature),           NULL, NULL},
    {"top_p",                     FIELD_NUMBER,  0,            0,    1,               AT(top_p),                 NULL, NULL},
    {"top_k",                     FIELD_INT,     0,            -1,   0x1p31 - 1,      AT(top_k),                 NULL, NULL},
    {"min_p",                     FIELD_NUMBER,  0,            0,    1,               AT(min_p),                 NULL, NULL},
    {"presence_penalty",          FIELD_NUMBER,  0,            -2,   2,               AT(presence),              NULL, NULL},
    {"frequency_penalty",         FIELD_NUMBER,  0,            -2,   2,               AT(frequency),             NULL, NULL},
    {"repetition_penalty",        FIELD_NUMBER,  FIELD_ABOVE,  0,    2,               AT(repetition),            NULL, NULL},
    {"logit_bias",                FIELD_OBJECT,  0,            0,    0,               AT(logit_bias),            NULL, NULL},
    {"stop",                      FIELD_ANY,     0,            0,    0,               AT(stop),                  NULL, NULL},
    {"stop_token_ids",            FIELD_ARRAY,   0,            0,    JOB_MAX_STOPS,   AT(stop_token),            NULL, NULL},
    {"include_stop_str_in_output",FIELD_BOOL,    0,            0,    0,               AT(include_stop),          NULL, NULL},
    {"ignore_eos",                FIELD_BOOL,    0,            0,    0,               AT(ignore_eos),            NULL, NULL},
    {"skip_special_tokens",       FIELD_BOOL,    0,            0,    0,               AT(skip_special),          NULL, NULL},
    {"stream",                    FIELD_BOOL,    0,            0,    0,               AT(stream),                NULL, NULL},
    {"stream_options",            FIELD_NESTED,  0,            0,    0,               0,                         NULL, stream_options},
    {"response_format",           FIELD_NESTED,  0,            0,    0,               0,                         NULL, response_format},
    {"guided_json",               FIELD_REFUSED, 0,            0,    0,               0,                         later, NULL},
    {"guided_regex",              FIELD_REFUSED, 0,            0,    0,               0,                         later, NULL},
    {"guided_choice",             FIELD_REFUSED, 0,            0,    0,               0,                         later, NULL},
    {"guided_grammar",            FIELD_REFUSED, 0,            0,    0,               0,                         later, NULL},
    {"structured_outputs",        FIELD_REFUSED, 0,            0,    0,               0,                         later, NULL},
    {0},
};
/* clang-format on */

enum status params_read(const struct json *body, struct params *p)
{
    TRY(fields_read(table, body, "", p));
    if (p->response_type.has && !bytes_equal(p->response_type.v, "text"))
        return fail_field(ERR_UNSUPPORTED, "response_format",
                          "`response_format.type` must be \"text\", got \"%.40s\"; %s",
                          p->response_type.v.p, later);
    return OK;
}

int64_t params_max_tokens(const struct params *p)
{
    const struct opt_int *given[] = {&p->max_tokens, &p->max_completion_tokens,
                                     &p->max_output_tokens};
    int64_t least = -1;

    for (int i = 0; i < 3; i++) {
        if (given[i]->has && (least < 0 || given[i]->v < least))
            least = given[i]->v;
    }
    return least;
}

static enum status add_stop(struct job_spec *out, const struct json *v, const char *path)
{
    struct bytes *word = (struct bytes *)(uintptr_t)out->stop; /* ours, behind a const view */

    if (!json_is(v, JSON_STRING))
        return fields_wrong(path, "a string", v);
    if (v->text.n) /* "" comes from empty input boxes; it would stop everything at once */
        word[out->n_stop++] = v->text;
    return OK;
}

static enum status read_stops(const struct json *v, struct arena *a, struct job_spec *out)
{
    char path[FIELD_PATH];
    int i = 0;

    if (!v)
        return OK;
    if (v->type != JSON_STRING && v->type != JSON_ARRAY)
        return fields_wrong("stop", "a string or an array of strings", v);
    if (v->count > JOB_MAX_STOPS)
        return fail_field(ERR_INVALID, "stop", "`stop` may have at most %d strings, got %d",
                          JOB_MAX_STOPS, v->count);
    out->stop = arena_alloc(a, sizeof *out->stop * (size_t)(v->count + 1));
    if (v->type == JSON_STRING)
        return add_stop(out, v, "stop");
    for (const struct json *word = v->first; word; word = word->next, i++) {
        snprintf(path, sizeof path, "stop[%d]", i);
        TRY(add_stop(out, word, path));
    }
    return OK;
}

/* A key of logit_bias: digits only, no leading zero, so that no id comes twice. -1: no token. */
static int32_t bias_token(const char *key, int n_vocab)
{
    size_t n = strlen(key);
    int64_t id = 0;

    if (n == 0 || n > 9 || strspn(key, "0123456789") != n || (key[0] == '0' && n > 1))
        return -1;
    for (; *key; key++)
        id = id * 10 + *key - '0';
    return id < n_vocab ? (int32_t)id : -1;
}

static enum status read_bias(const struct json *v, int n_vocab, struct arena *a,
                             struct sampling *out)
{
    struct logit_bias *bias;
    char path[FIELD_PATH];

    if (!v)
        return OK;
    bias = arena_alloc(a, sizeof *bias * (size_t)(v->count + 1));
    for (const struct json *item = v->first; item; item = item->next) {
        int32_t token = bias_token(item->key, n_vocab);

        snprintf(path, sizeof path, "logit_bias.%s", item->key);
        if (token < 0)
            return fail_field(ERR_INVALID, path,
                              "the keys of `logit_bias` must be token ids from 0 to %d, got "
                              "\"%.40s\"",
                              n_vocab - 1, item->key);
        if (!json_is(item, JSON_NUMBER) || !(item->number >= -100 && item->number <= 100))
            return fail_field(ERR_INVALID, path, "`%s` must be a number from -100 to 100", path);
        bias[out->n_bias++] = (struct logit_bias){token, (float)item->number};
    }
    out->bias = bias;
    return OK;
}

static void set_number(struct opt_number from, float *to)
{
    if (from.has)
        *to = (float)from.v;
}

/* What the request does not say is as the model's files ask. */
static void set_sampling(const struct params *p, const struct model *m, struct sampling *s)
{
    *s = model_info(m)->sampling;
    set_number(p->temperature, &s->temperature);
    set_number(p->top_p, &s->top_p);
    set_number(p->min_p, &s->min_p);
    set_number(p->presence, &s->presence);
    set_number(p->frequency, &s->frequency);
    set_number(p->repetition, &s->repetition);
    if (p->top_k.has)
        s->top_k = p->top_k.v > 0 ? (int)p->top_k.v : 0;
    s->has_seed = p->seed.has;
    s->seed = (uint64_t)p->seed.v;
}

enum status params_spec(const struct params *p, const struct model *m, struct arena *a,
                        struct job_spec *out)
{
    const int n_vocab = model_info(m)->n_vocab;
    const int64_t max = params_max_tokens(p);

    *out = (struct job_spec){.n = p->n.has ? (int)p->n.v : 1, .top_logprobs = -1};
    set_sampling(p, m, &out->sampling);
    if (max >= 0 && p->min_tokens.v > max)
        return fail_field(ERR_INVALID, "min_tokens",
                          "`min_tokens` (%lld) must not be above max_tokens (%lld)",
                          (long long)p->min_tokens.v, (long long)max);
    out->max_tokens = max >= 0 ? max : model_info(m)->max_tokens;
    out->max_tokens_given = max >= 0;
    out->min_tokens = p->min_tokens.v;
    out->ignore_eos = p->ignore_eos.v;
    out->include_stop = p->include_stop.v;
    out->special_text = p->skip_special.has && !p->skip_special.v;
    TRY(read_stops(p->stop, a, out));
    if (p->stop_token) {
        int32_t *id;

        TRY(fields_tokens(p->stop_token, "stop_token_ids", n_vocab, a, &id));
        out->stop_token = id;
        out->n_stop_token = p->stop_token->count;
    }
    return read_bias(p->logit_bias, n_vocab, a, &out->sampling);
}
