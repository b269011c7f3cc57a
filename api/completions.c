/* completions.c - POST /v1/completions: text or token ids go to the model as they are, never
 * through the chat template; several prompts are several jobs of one call. */
#include "api/completions.h"

#include <stdio.h>

#include "api/answer.h"
#include "api/params.h"

/* More prompts in one request than a queue holds could never be submitted. */
enum { MAX_PROMPTS = 256 };

struct completions {
    const struct json *prompt;
    struct opt_bool echo;
    struct opt_int logprobs, best_of;
    struct opt_text suffix;
};

#define AT(member) offsetof(struct completions, member)
/* clang-format off */
static const struct field table[] = {
    /* name          type           flags         min max              offset */
    {"prompt",       FIELD_ANY,     FIELD_NEEDED, 0,  0,               AT(prompt),   NULL, NULL},
    {"echo",         FIELD_BOOL,    0,            0,  0,               AT(echo),     NULL, NULL},
    {"logprobs",     FIELD_INT,     0,            0,  JOB_MAX_TOP,     AT(logprobs), NULL, NULL},
    {"best_of",      FIELD_INT,     0,            1,  JOB_MAX_CHOICES, AT(best_of),  NULL, NULL},
    {"suffix",       FIELD_TEXT,    0,            0,  0,               AT(suffix),   NULL, NULL},
    {"prompt_embeds",FIELD_REFUSED, 0,            0,  0,               0,            NULL, NULL},
    {0},
};
/* clang-format on */

static void write_choice(const struct answer *an, int i, bool with_logprobs, struct buf *out)
{
    const struct choice *ch = &an->choice[i];

    buf_printf(out, "{\"index\":%d,\"text\":", i);
    json_write_string(out, ch->text.data, ch->text.len);
    buf_puts(out, ",\"logprobs\":");
    if (with_logprobs)
        logprobs_write_text(&ch->logprobs, out);
    else
        buf_puts(out, "null");
    buf_putc(out, ',');
    answer_write_finish(ch, out);
    buf_putc(out, '}');
}

static void write_last(const struct answer *an, int i, struct buf *out)
{
    write_choice(an, i, false, out); /* all text was sent: "" */
}

static void write_whole(const struct answer *an, int i, struct buf *out)
{
    write_choice(an, i, an->with_logprobs, out);
}

static const struct dialect dialect = {
    .id_prefix = "cmpl-",
    .object = "text_completion",
    .chunk_object = "text_completion",
    .prompt_field = "prompt",
    .open = NULL,
    .delta = write_whole, /* finish_reason is still null then */
    .last = write_last,
    .whole = write_whole,
    .logprob = logprobs_add_text,
};

/* ---- prompts: "text", ["text"], [ids], [[ids]] ---- */

struct prompts {
    struct token_list *list;
    struct bytes *text; /* for echo */
    int n;
};

static enum status read_prompt(const struct json *v, const char *path, const struct model *m,
                               struct arena *a, struct prompts *out)
{
    struct token_list *list = &out->list[out->n];
    struct bytes *text = &out->text[out->n++];

    if (json_is(v, JSON_STRING)) {
        *text = v->text;
        TRY(model_tokenize(m, a, v->text, true, AROUND_PROMPT, list));
    } else if (json_is(v, JSON_ARRAY)) {
        TRY(fields_tokens(v, path, model_info(m)->n_vocab, a, &list->id));
        list->n = v->count;
        *text = call_spell(m, list, a);
    } else {
        return fields_wrong(path, "a string or an array of token ids", v);
    }
    if (list->n == 0)
        return fail_field(ERR_INVALID, path, "`%s` is empty", path);
    return OK;
}

static enum status read_prompts(const struct json *v, const struct model *m, struct arena *a,
                                struct prompts *out)
{
    bool many = v->type == JSON_ARRAY && v->first && v->first->type != JSON_NUMBER;
    size_t n = many ? (size_t)v->count : 1;
    char name[FIELD_PATH];

    if (n > MAX_PROMPTS)
        return fail_field(ERR_INVALID, "prompt", "`prompt` may have at most %d prompts, got %zu",
                          MAX_PROMPTS, n);
    out->list = arena_calloc(a, n * sizeof *out->list);
    out->text = arena_calloc(a, n * sizeof *out->text);
    if (!many)
        return read_prompt(v, "prompt", m, a, out);
    for (const struct json *item = v->first; item; item = item->next) {
        snprintf(name, sizeof name, "prompt[%d]", out->n);
        TRY(read_prompt(item, name, m, a, out));
    }
    return OK;
}

static enum status read_request(const struct json *body, struct params *p, struct completions *r)
{
    TRY(params_read(body, p));
    TRY(fields_read(table, body, "", r));
    if (r->suffix.v.n)
        return fail_field(ERR_UNSUPPORTED, "suffix", "`suffix` is not supported yet");
    if (r->best_of.has && r->best_of.v != (p->n.has ? p->n.v : 1))
        return fail_field(ERR_UNSUPPORTED, "best_of", "`best_of` other than `n` is not supported");
    return OK;
}

enum status completions_begin(struct api *a, struct call *c)
{
    struct answer *an = arena_calloc(&c->arena, sizeof *an);
    struct prompts prompts = {0};
    struct completions r = {0};
    struct params p = {0};
    struct job_spec spec;
    const struct json *body;

    TRY(call_model(a, &an->model));
    TRY(fields_body(&c->arena, c->body, &body));
    TRY(read_request(body, &p, &r));
    TRY(answer_params(a, c, &p, &dialect, an, &spec));
    if (r.logprobs.has)
        spec.top_logprobs = (int)r.logprobs.v;
    spec.prompt_logprobs = r.echo.v && r.logprobs.has;
    TRY(read_prompts(r.prompt, an->model, &c->arena, &prompts));
    an->with_logprobs = r.logprobs.has;
    an->prompt = prompts.list;
    an->echo = r.echo.v ? prompts.text : NULL;
    an->n_prompts = prompts.n;
    return answer_start(a, c, an, &spec);
}
