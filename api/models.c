/* models.c - the model under its real id and its aliases. Context length and size stand where
 * clients of vLLM (max_model_len), of OpenRouter (context_length) and of llama.cpp (meta) look. */
#include "api/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/json.h"

static void write_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    json_write_string(out, text, strlen(text));
}

/* As many digits as tell floats apart, and no more than people write: 0.7, not 0.699999988. */
static void write_float(struct buf *out, const char *name, float v)
{
    char text[32];

    for (int digits = 1; digits < 10; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    buf_printf(out, "\"%s\":%s,", name, text);
}

/* What holds for a request that says nothing. */
static void write_sampling(const struct model_info *m, struct buf *out)
{
    write_float(out, "temperature", m->sampling.temperature);
    write_float(out, "top_p", m->sampling.top_p);
    write_float(out, "min_p", m->sampling.min_p);
    write_float(out, "repetition_penalty", m->sampling.repetition);
    buf_printf(out, "\"top_k\":%d", m->sampling.top_k);
    if (m->max_tokens > 0)
        buf_printf(out, ",\"max_tokens\":%lld", (long long)m->max_tokens);
}

static void write_model(const struct model_info *m, const char *id, struct buf *out)
{
    buf_putc(out, '{');
    write_text(out, "id", id);
    buf_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"inferd\",",
               (long long)m->created);
    write_text(out, "root", m->id);
    buf_printf(out,
               ",\"parent\":null,\"max_model_len\":%lld,\"context_length\":%lld,"
               "\"meta\":{\"n_params\":%lld,\"size\":%lld,\"n_vocab\":%d,\"n_ctx_train\":%lld,",
               (long long)m->context, (long long)m->context, (long long)m->n_params,
               (long long)m->bytes, m->n_vocab, (long long)m->context_trained);
    write_text(out, "arch", m->arch);
    buf_putc(out, ',');
    write_text(out, "format", m->format);
    buf_puts(out, "},\"default_sampling_params\":{");
    write_sampling(m, out);
    buf_puts(out, "}}");
}

enum status models_list(struct api *a, struct call *c)
{
    const struct model *m;

    TRY(call_model(a, &m));
    buf_puts(&c->out, "{\"object\":\"list\",\"data\":[");
    write_model(model_info(m), model_info(m)->id, &c->out);
    for (int i = 0; i < a->o.n_aliases; i++) {
        buf_putc(&c->out, ',');
        write_model(model_info(m), a->o.alias[i], &c->out);
    }
    buf_puts(&c->out, "]}");
    call_reply_json(c, 200);
    return OK;
}

/* Unlike a generation, asking for a model by name is asking whether it is here. */
enum status models_one(struct api *a, struct call *c)
{
    const char *id = c->rest;
    const struct model *m;

    TRY(call_model(a, &m));
    TRY(call_find_model(a, m, bytes_of(id)));
    write_model(model_info(m), id, &c->out);
    call_reply_json(c, 200);
    return OK;
}
