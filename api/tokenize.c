/* tokenize.c - text to ids and back, in vLLM's shapes, which evaluation harnesses use. */
#include "api/tokenize.h"

#include "api/fields.h"

struct request {
    struct opt_text prompt;
    struct opt_bool add_special;
    const struct json *tokens;
};

#define AT(member) offsetof(struct request, member)
/* clang-format off */
static const struct field text_table[] = {
    {"prompt",             FIELD_TEXT, FIELD_NEEDED, 0, 0, AT(prompt),      NULL, NULL},
    {"add_special_tokens", FIELD_BOOL, 0,            0, 0, AT(add_special), NULL, NULL},
    {0},
};
static const struct field back_table[] = {
    {"tokens", FIELD_ARRAY, FIELD_NEEDED, 0, 0, AT(tokens), NULL, NULL},
    {0},
};
/* clang-format on */

enum status tokenize_text(struct api *a, struct call *c)
{
    struct request r = {.add_special = {false, true}};
    struct token_list list = {0};
    const struct json *body;
    const struct model *m;

    TRY(call_model(a, &m));
    TRY(fields_body(&c->arena, c->body, &body));
    TRY(fields_read(text_table, body, "", &r));
    TRY(model_tokenize(m, &c->arena, r.prompt.v, true,
                       r.add_special.v ? AROUND_TEXT : AROUND_NOTHING, &list));
    buf_printf(&c->out, "{\"count\":%d,\"max_model_len\":%lld,\"tokens\":[", list.n,
               (long long)model_info(m)->context);
    for (int i = 0; i < list.n; i++)
        buf_printf(&c->out, "%s%d", i ? "," : "", list.id[i]);
    buf_puts(&c->out, "]}");
    call_reply_json(c, 200);
    return OK;
}

enum status tokenize_back(struct api *a, struct call *c)
{
    struct token_list list = {0};
    struct request r = {0};
    const struct json *body;
    const struct model *m;
    struct bytes text;

    TRY(call_model(a, &m));
    TRY(fields_body(&c->arena, c->body, &body));
    TRY(fields_read(back_table, body, "", &r));
    TRY(fields_tokens(r.tokens, "tokens", model_info(m)->n_vocab, &c->arena, &list.id));
    list.n = r.tokens->count;
    text = call_spell(m, &list, &c->arena);
    buf_puts(&c->out, "{\"prompt\":");
    json_write_string(&c->out, text.p, text.n);
    buf_putc(&c->out, '}');
    call_reply_json(c, 200);
    return OK;
}
