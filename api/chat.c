/* chat.c - POST /v1/chat/completions: messages through the checkpoint's template into one job. */
#include "api/chat.h"

#include "api/answer.h"
#include "api/messages.h"
#include "api/params.h"

struct chat {
    struct messages messages;
    struct opt_bool logprobs, add_prompt, continue_final;
    struct opt_text effort;
    struct opt_int top_logprobs;
    const struct json *tool_choice;
};

static const char use_tools[] = "use `tools` and `tool_choice`";

#define AT(member) offsetof(struct chat, member)
/* clang-format off */
static const struct field table[] = {
    /* name                    type           flags         min max          offset */
    {"messages",               FIELD_ARRAY,   FIELD_NEEDED, 0,  0,           AT(messages.messages), NULL, NULL},
    {"tools",                  FIELD_ARRAY,   0,            0,  0,           AT(messages.tools),    NULL, NULL},
    {"chat_template_kwargs",   FIELD_OBJECT,  0,            0,  0,           AT(messages.kwargs),   NULL, NULL},
    {"documents",              FIELD_ARRAY,   0,            0,  0,           AT(messages.documents), NULL, NULL},
    {"reasoning_effort",       FIELD_TEXT,    0,            0,  0,           AT(effort),            NULL, NULL},
    {"tool_choice",            FIELD_ANY,     0,            0,  0,           AT(tool_choice),       NULL, NULL},
    {"logprobs",               FIELD_BOOL,    0,            0,  0,           AT(logprobs),          NULL, NULL},
    {"top_logprobs",           FIELD_INT,     0,            0,  JOB_MAX_TOP, AT(top_logprobs),      NULL, NULL},
    {"add_generation_prompt",  FIELD_BOOL,    0,            0,  0,           AT(add_prompt),        NULL, NULL},
    {"continue_final_message", FIELD_BOOL,    0,            0,  0,           AT(continue_final),    NULL, NULL},
    {"functions",              FIELD_REFUSED, 0,            0,  0,           0,                     use_tools, NULL},
    {"function_call",          FIELD_REFUSED, 0,            0,  0,           0,                     use_tools, NULL},
    {"chat_template",          FIELD_REFUSED, 0,            0,  0,           0,                     "the model's own is used", NULL},
    {0},
};
/* clang-format on */

static void write_choice(int i, struct buf *out)
{
    buf_printf(out, "{\"index\":%d,", i);
}

static void write_logprobs(const struct answer *an, int i, struct buf *out)
{
    buf_puts(out, "\"logprobs\":");
    if (an->with_logprobs)
        logprobs_write_chat(&an->choice[i].logprobs, out);
    else
        buf_puts(out, "null");
}

static void write_open(const struct answer *an, int i, struct buf *out)
{
    (void)an;
    write_choice(i, out);
    buf_puts(out, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                  "\"finish_reason\":null}");
}

static void write_delta(const struct answer *an, int i, struct buf *out)
{
    const struct buf *text = &an->choice[i].text;

    write_choice(i, out);
    buf_puts(out, "\"delta\":{\"content\":");
    json_write_string(out, text->data, text->len);
    buf_puts(out, "},");
    write_logprobs(an, i, out);
    buf_puts(out, ",\"finish_reason\":null}");
}

static void write_last(const struct answer *an, int i, struct buf *out)
{
    write_choice(i, out);
    buf_puts(out, "\"delta\":{},\"logprobs\":null,");
    answer_write_finish(&an->choice[i], out);
    buf_putc(out, '}');
}

static void write_whole(const struct answer *an, int i, struct buf *out)
{
    const struct buf *text = &an->choice[i].text;

    write_choice(i, out);
    buf_puts(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    json_write_string(out, text->data, text->len);
    buf_puts(out, ",\"refusal\":null},");
    write_logprobs(an, i, out);
    buf_putc(out, ',');
    answer_write_finish(&an->choice[i], out);
    buf_putc(out, '}');
}

static const struct dialect dialect = {
    .id_prefix = "chatcmpl-",
    .object = "chat.completion",
    .chunk_object = "chat.completion.chunk",
    .prompt_field = "messages",
    .open = write_open,
    .delta = write_delta,
    .last = write_last,
    .whole = write_whole,
    .logprob = logprobs_add_chat,
};

/* auto and none; what forces a call needs constrained output. */
static enum status check_tool_choice(struct chat *r)
{
    const struct json *v = r->tool_choice;

    r->messages.use_tools = true;
    if (!v)
        return OK;
    if (v->type != JSON_STRING && v->type != JSON_OBJECT)
        return fields_wrong("tool_choice", "a string or an object", v);
    if (v->type == JSON_OBJECT || bytes_equal(v->text, "required"))
        return fail_field(ERR_UNSUPPORTED, "tool_choice",
                          "`tool_choice` may be \"auto\" or \"none\"; forcing a tool call is not "
                          "built yet");
    if (bytes_equal(v->text, "none"))
        r->messages.use_tools = false;
    else if (!bytes_equal(v->text, "auto"))
        return fail_field(ERR_INVALID, "tool_choice",
                          "`tool_choice` must be \"auto\" or \"none\", got \"%.40s\"", v->text.p);
    return OK;
}

static enum status read_request(const struct json *body, struct params *p, struct chat *r)
{
    TRY(params_read(body, p));
    TRY(fields_read(table, body, "", r));
    TRY(check_tool_choice(r));
    if (params_max_tokens(p) == 0)
        return fail_field(ERR_INVALID, "max_tokens", "`max_tokens` must be at least 1, got 0");
    if (r->top_logprobs.v > 0 && !r->logprobs.v)
        return fail_field(ERR_INVALID, "top_logprobs", "`top_logprobs` needs `logprobs`: true");
    if (r->continue_final.v && r->add_prompt.v)
        return fail_field(ERR_INVALID, "continue_final_message",
                          "`continue_final_message` and `add_generation_prompt` cannot both be "
                          "true");
    r->messages.go_on = r->continue_final.v;
    r->messages.reasoning_effort = r->effort.v;
    r->messages.add_generation_prompt = r->add_prompt.has ? r->add_prompt.v : !r->continue_final.v;
    return OK;
}

static enum status make_prompt(const struct chat *r, const struct model *m, struct arena *a,
                               struct token_list *out)
{
    const struct json *vars;
    struct buf text = {0};
    enum status s;

    TRY(messages_vars(&r->messages, a, &vars));
    s = model_render(m, vars, &text);
    if (s == OK && r->messages.go_on)
        s = messages_cut(&r->messages, &text);
    if (s == OK)
        s = model_tokenize(m, a, (struct bytes){text.data, text.len}, true, AROUND_PROMPT, out);
    buf_clear(&text);
    if (s == OK && out->n == 0)
        s = fail_field(ERR_INVALID, "messages", "`messages` give an empty prompt");
    return s;
}

enum status chat_begin(struct api *a, struct call *c)
{
    struct answer *an = arena_calloc(&c->arena, sizeof *an);
    struct token_list *prompt = arena_calloc(&c->arena, sizeof *prompt);
    struct params p = {0};
    struct chat r = {0};
    struct job_spec spec;
    const struct json *body;

    TRY(call_model(a, &an->model));
    TRY(fields_body(&c->arena, c->body, &body));
    TRY(read_request(body, &p, &r));
    TRY(answer_params(a, c, &p, &dialect, an, &spec));
    if (r.logprobs.v)
        spec.top_logprobs = (int)r.top_logprobs.v;
    r.messages.text_calls = model_info(an->model)->text_calls;
    r.messages.parts = model_info(an->model)->parts;
    TRY(make_prompt(&r, an->model, &c->arena, prompt));
    an->with_logprobs = r.logprobs.v;
    an->prompt = prompt;
    an->n_prompts = 1;
    return answer_start(a, c, an, &spec);
}
