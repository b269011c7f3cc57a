/* messages.c - checks messages and tools, and copies them with these changes:
 *   role       developer becomes system, function (OpenAI's old name) becomes tool
 *   content    parts become one string, with line feeds between them as other servers join them,
 *              but for a template that reads a user's parts; absent content
 *              and null become "", also beside tool calls: of 45 templates five raise at null
 *              there (Qwen3, Phi-3.5, gpt-oss ...) and four write "None"
 *   arguments  of tool calls: a JSON text becomes the object it stands for, as templates print
 *              them with `tojson`; what is not an object's text stays a string: a model may have
 *              written it, and a conversation must go on after it
 *   null       members are left out, since templates ask `is defined`
 *   reasoning  has each of its three names, whichever the client used: templates know one of them
 * Everything else a message has (name ...) is handed on as it is. A template that shows calls only
 * beside null content, with arguments as text (DeepSeek-R1's), gets them so. Where the last message
 * is to be continued its text ends with a mark, by which the prompt is cut: what a template does to
 * a message's end and writes behind it is its own. */
#include "api/messages.h"

#include <stdio.h>
#include <string.h>

#include "api/fields.h"

/* No one's text; blank at its end: is it gone, then so are those before it. */
static const char mark[] = "<|the message goes on here|> ";

/* ---- building JSON ---- */

struct build { /* an array or object that grows */
    struct arena *arena;
    struct json *v;
    const struct json **tail;
};

static struct json *node_new(struct arena *a, enum json_type type)
{
    struct json *v = arena_calloc(a, sizeof *v);

    v->type = type;
    return v;
}

static struct build build_new(struct arena *a, enum json_type type)
{
    struct build b = {a, node_new(a, type), NULL};

    b.tail = &b.v->first;
    return b;
}

/* Adds a shallow copy: a value's children may be shared, its place among siblings may not. */
static void build_add(struct build *b, const char *key, const struct json *v)
{
    struct json *copy = arena_alloc(b->arena, sizeof *copy);

    *copy = *v;
    copy->key = key;
    copy->next = NULL;
    *b->tail = copy;
    b->tail = &copy->next;
    b->v->count++;
}

static void build_string(struct build *b, const char *key, struct bytes text)
{
    struct json v = {.type = JSON_STRING, .text = text};

    build_add(b, key, &v);
}

static bool is_one_of(const char *key, const char *const *name)
{
    while (*name && strcmp(*name, key) != 0)
        name++;
    return *name;
}

/* Copies the members of an object that are neither null nor in `except` (ends with NULL). */
static void build_rest(struct build *b, const struct json *object, const char *const *except)
{
    for (const struct json *v = object->first; v; v = v->next) {
        if (v->type != JSON_NULL && !is_one_of(v->key, except))
            build_add(b, v->key, v);
    }
}

/* ---- content ---- */

struct part {
    struct opt_text type, text, refusal;
};
static const struct field part_table[] = {
    {"type", FIELD_TEXT, FIELD_NEEDED, 0, 0, offsetof(struct part, type), NULL, NULL},
    {"text", FIELD_TEXT, 0, 0, 0, offsetof(struct part, text), NULL, NULL},
    {"refusal", FIELD_TEXT, 0, 0, 0, offsetof(struct part, refusal), NULL, NULL},
    {0},
};

static enum status read_part(const struct json *v, const char *path, struct bytes *out)
{
    static const char *const text[] = {"text", "input_text", "output_text", NULL};
    struct part part = {0};
    bool refusal;
    char name[FIELD_PATH];

    TRY(fields_read(part_table, v, path, &part));
    refusal = bytes_equal(part.type.v, "refusal");
    if (!refusal && !is_one_of(part.type.v.p, text)) {
        snprintf(name, sizeof name, "%s.type", path);
        return fail_field(ERR_UNSUPPORTED, name,
                          "`%s` is \"%.40s\"; this model takes text only (text, input_text, "
                          "output_text, refusal)",
                          name, part.type.v.p);
    }
    if (!(refusal ? part.refusal : part.text).has) {
        snprintf(name, sizeof name, "%s.%s", path, refusal ? "refusal" : "text");
        return fail_field(ERR_INVALID, name, "`%s` is missing", name);
    }
    *out = (refusal ? part.refusal : part.text).v;
    return OK;
}

/* The parts' texts one behind the other, `between` between them. */
static enum status join_parts(const struct json *parts, const char *path, const char *between,
                              struct arena *a, struct bytes *out)
{
    size_t n = 0, room = 0;
    char name[FIELD_PATH];
    struct bytes text;
    char *p;
    int i = 0;

    for (const struct json *v = parts->first; v; v = v->next, i++) {
        snprintf(name, sizeof name, "%s[%d]", path, i);
        TRY(read_part(v, name, &text));
        room += text.n + strlen(between);
    }
    p = arena_alloc(a, room + 1);
    if (!p)
        return fail(ERR_TOO_LARGE, "the message is too long");
    for (const struct json *v = parts->first; v; v = v->next) {
        TRY(read_part(v, path, &text)); /* cannot fail: it did not above */
        if (v != parts->first) {
            memcpy(p + n, between, strlen(between));
            n += strlen(between);
        }
        memcpy(p + n, text.p, text.n);
        n += text.n;
    }
    p[n] = '\0';
    *out = (struct bytes){p, n};
    return OK;
}

/* The parts for a template that reads them: all are "text". */
static enum status add_parts(struct build *b, const struct json *parts, const char *path)
{
    struct build list = build_new(b->arena, JSON_ARRAY);
    char name[FIELD_PATH];
    struct bytes text;
    int i = 0;

    for (const struct json *v = parts->first; v; v = v->next, i++) {
        struct build part = build_new(b->arena, JSON_OBJECT);

        snprintf(name, sizeof name, "%s[%d]", path, i);
        TRY(read_part(v, name, &text));
        build_string(&part, "type", bytes_of("text"));
        build_string(&part, "text", text);
        build_add(&list, NULL, part.v);
    }
    build_add(b, "content", list.v);
    return OK;
}

/* What is to be seen to: the template reads parts, of this message too; the message has tool calls
 * that are given as text, or is to be continued. */
enum content { PLAIN, AS_PARTS, BESIDE_TEXT_CALLS, GOES_ON };
static enum status add_content(struct build *b, const struct json *v, const char *path,
                               enum content what, const char *between)
{
    static const struct json null = {.type = JSON_NULL};
    struct bytes text = {"", 0};

    if (what == AS_PARTS && json_is(v, JSON_ARRAY) && v->count > 1)
        return add_parts(b, v, path);
    if (json_is(v, JSON_ARRAY))
        TRY(join_parts(v, path, between, b->arena, &text));
    else if (json_is(v, JSON_STRING))
        text = v->text;
    else if (v && v->type != JSON_NULL)
        return fields_wrong(path, "a string or an array of parts", v);
    if (what == GOES_ON) {
        size_t n = text.n + sizeof mark - 1;
        text.p = arena_printf(b->arena, "%.*s%s", (int)text.n, text.p, mark);
        if (!text.p)
            return fail(ERR_TOO_LARGE, "the message is too long");
        text.n = n;
    }
    if (what == BESIDE_TEXT_CALLS && text.n == 0)
        build_add(b, "content", &null);
    else
        build_string(b, "content", text);
    return OK;
}

/* ---- tool calls of an assistant's message ---- */

struct tool_call {
    struct opt_text id, type, name;
    const struct json *function, *arguments;
};
#define CALL(member) offsetof(struct tool_call, member)
static const struct field call_table[] = {
    {"id", FIELD_TEXT, 0, 0, 0, CALL(id), NULL, NULL},
    {"type", FIELD_WORD, 0, 0, 0, CALL(type), "function", NULL},
    {"function", FIELD_OBJECT, FIELD_NEEDED, 0, 0, CALL(function), NULL, NULL},
    {0},
};
static const struct field call_function_table[] = {
    {"name", FIELD_TEXT, FIELD_NEEDED, 0, 0, CALL(name), NULL, NULL},
    {"arguments", FIELD_ANY, 0, 0, 0, CALL(arguments), NULL, NULL},
    {0},
};

static void add_as_text(struct build *b, const struct json *v)
{
    struct buf text = {0};

    json_write(&text, v);
    build_string(b, "arguments",
                 (struct bytes){arena_strndup(b->arena, text.data, text.len), text.len});
    buf_clear(&text);
}

static enum status add_arguments(struct build *b, const struct json *v, const char *path,
                                 bool as_text)
{
    static const struct json none = {.type = JSON_OBJECT};
    const struct json *object;

    if (as_text && v && v->type == JSON_STRING && v->text.n) {
        build_add(b, "arguments", v);
        return OK;
    }
    if (as_text && (!v || v->type == JSON_STRING || v->type == JSON_OBJECT)) {
        add_as_text(b, v && v->type == JSON_OBJECT ? v : &none);
        return OK;
    }
    if (!v || (v->type == JSON_STRING && v->text.n == 0)) { /* a call without arguments */
        build_add(b, "arguments", &none);
        return OK;
    }
    if (v->type == JSON_OBJECT) {
        build_add(b, "arguments", v);
        return OK;
    }
    if (v->type != JSON_STRING)
        return fields_wrong(path, "a string of JSON or an object", v);
    if (fields_parse(b->arena, v->text, &object) != OK || object->type != JSON_OBJECT)
        object = v;
    build_add(b, "arguments", object);
    return OK;
}

static enum status add_tool_call(struct build *calls, const struct json *v, const char *path,
                                 bool as_text)
{
    static const char *const mine[] = {"function", "type", NULL}, *const inner[] = {"arguments",
                                                                                    NULL};
    struct build call = build_new(calls->arena, JSON_OBJECT),
                 function = build_new(calls->arena, JSON_OBJECT);
    struct tool_call t = {0};
    char name[FIELD_PATH];

    TRY(fields_read(call_table, v, path, &t));
    snprintf(name, sizeof name, "%s.function", path);
    TRY(fields_read(call_function_table, t.function, name, &t));
    build_rest(&function, t.function, inner);
    snprintf(name, sizeof name, "%s.function.arguments", path);
    TRY(add_arguments(&function, t.arguments, name, as_text));
    build_rest(&call, v, mine);
    build_string(&call, "type", bytes_of("function"));
    build_add(&call, "function", function.v);
    build_add(calls, NULL, call.v);
    return OK;
}

static enum status add_tool_calls(struct build *message, const struct json *list, const char *path,
                                  bool as_text)
{
    struct build calls = build_new(message->arena, JSON_ARRAY);
    char name[FIELD_PATH];
    int i = 0;

    for (const struct json *v = list->first; v; v = v->next, i++) {
        snprintf(name, sizeof name, "%s[%d]", path, i);
        TRY(add_tool_call(&calls, v, name, as_text));
    }
    build_add(message, "tool_calls", calls.v);
    return OK;
}

/* ---- messages ---- */

struct message {
    struct opt_text role, name, tool_call_id;
    const struct json *content, *tool_calls;
};
#define MESSAGE(member) offsetof(struct message, member)
static const struct field message_table[] = {
    {"role", FIELD_WORD, FIELD_NEEDED, 0, 0, MESSAGE(role),
     "system|developer|user|assistant|tool|function", NULL},
    {"content", FIELD_ANY, 0, 0, 0, MESSAGE(content), NULL, NULL},
    {"name", FIELD_TEXT, 0, 0, 0, MESSAGE(name), NULL, NULL},
    {"tool_calls", FIELD_ARRAY, 0, 0, 0, MESSAGE(tool_calls), NULL, NULL},
    {"tool_call_id", FIELD_TEXT, 0, 0, 0, MESSAGE(tool_call_id), NULL, NULL},
    {0},
};

static struct bytes template_role(struct bytes role)
{
    if (bytes_equal(role, "developer"))
        return bytes_of("system");
    return bytes_equal(role, "function") ? bytes_of("tool") : role;
}

/* What a model thought: `reasoning_content`, `reasoning` (clients of today) or `thinking`. */
static void add_reasoning(struct build *b, const struct json *message)
{
    static const char *const name[] = {"reasoning_content", "reasoning", "thinking"};
    const struct json *v = NULL;

    for (int i = 0; i < 3 && !json_is(v, JSON_STRING); i++)
        v = json_get(message, name[i]);
    for (int i = 0; i < 3 && json_is(v, JSON_STRING); i++)
        if (!json_get(message, name[i]) || json_get(message, name[i])->type == JSON_NULL)
            build_add(b, name[i], v);
}

static enum content content_of(const struct messages *req, const struct message *m, bool last)
{
    if (req->go_on && last)
        return GOES_ON;
    if (req->text_calls && m->tool_calls && m->tool_calls->count)
        return BESIDE_TEXT_CALLS;
    return req->parts && bytes_equal(m->role.v, "user") ? AS_PARTS : PLAIN;
}

static enum status add_message(struct build *list, const struct json *v, const char *path,
                               const struct messages *req)
{
    static const char *const mine[] = {"role", "content", "tool_calls", NULL};
    struct build b = build_new(list->arena, JSON_OBJECT);
    struct message m = {0};
    char name[FIELD_PATH];
    bool calls;

    TRY(fields_read(message_table, v, path, &m));
    calls = m.tool_calls && m.tool_calls->count;
    snprintf(name, sizeof name, "%s.tool_calls", path);
    if (calls && !bytes_equal(m.role.v, "assistant"))
        return fail_field(ERR_INVALID, name, "`%s` belongs to messages of the assistant", name);
    build_string(&b, "role", template_role(m.role.v));
    if (calls)
        TRY(add_tool_calls(&b, m.tool_calls, name, req->text_calls));
    snprintf(name, sizeof name, "%s.content", path);
    if (!m.content && bytes_equal(m.role.v, "user"))
        return fail_field(ERR_INVALID, name, "`%s` is missing", name);
    TRY(add_content(&b, m.content, name, content_of(req, &m, !v->next), req->parts ? "" : "\n"));
    build_rest(&b, v, mine);
    add_reasoning(&b, v);
    build_add(list, NULL, b.v);
    return OK;
}

static enum status add_messages(struct build *vars, const struct messages *req)
{
    const struct json *list = req->messages;
    struct build b = build_new(vars->arena, JSON_ARRAY);
    char name[FIELD_PATH];
    int i = 0;

    if (list->count == 0)
        return fail_field(ERR_INVALID, "messages", "`messages` is empty");
    for (const struct json *v = list->first; v; v = v->next, i++) {
        snprintf(name, sizeof name, "messages[%d]", i);
        TRY(add_message(&b, v, name, req));
    }
    build_add(vars, "messages", b.v);
    return OK;
}

/* ---- tools ---- */

struct tool {
    struct opt_text type, name, description;
    const struct json *function, *parameters;
};
#define TOOL(member) offsetof(struct tool, member)
static const struct field tool_table[] = {
    {"type", FIELD_WORD, FIELD_NEEDED, 0, 0, TOOL(type), "function", NULL},
    {"function", FIELD_OBJECT, FIELD_NEEDED, 0, 0, TOOL(function), NULL, NULL},
    {0},
};
static const struct field tool_function_table[] = {
    {"name", FIELD_TEXT, FIELD_NEEDED, 1, 256, TOOL(name), NULL, NULL},
    {"description", FIELD_TEXT, 0, 0, 0, TOOL(description), NULL, NULL},
    {"parameters", FIELD_OBJECT, 0, 0, 0, TOOL(parameters), NULL, NULL},
    {0},
};

static enum status add_tool(struct build *list, const struct json *v, const char *path)
{
    static const char *const mine[] = {"function", NULL}, *const none[] = {NULL};
    struct build b = build_new(list->arena, JSON_OBJECT),
                 function = build_new(list->arena, JSON_OBJECT);
    struct tool t = {0};
    char name[FIELD_PATH];

    TRY(fields_read(tool_table, v, path, &t));
    snprintf(name, sizeof name, "%s.function", path);
    TRY(fields_read(tool_function_table, t.function, name, &t));
    build_rest(&b, v, mine);
    build_rest(&function, t.function, none);
    build_add(&b, "function", function.v);
    build_add(list, NULL, b.v);
    return OK;
}

static enum status add_tools(struct build *vars, const struct json *list, bool use)
{
    struct build b = build_new(vars->arena, JSON_ARRAY);
    char name[FIELD_PATH];
    int i = 0;

    for (const struct json *v = list ? list->first : NULL; v; v = v->next, i++) {
        snprintf(name, sizeof name, "tools[%d]", i);
        TRY(add_tool(&b, v, name));
    }
    if (i && use)
        build_add(vars, "tools", b.v);
    return OK;
}

/* ---- all together ---- */

enum status messages_vars(const struct messages *req, struct arena *a, const struct json **out)
{
    static const char *const reserved[] = {"messages",  "tools",     "add_generation_prompt",
                                           "bos_token", "eos_token", NULL};
    const struct json prompt = {.type = JSON_BOOL, .boolean = req->add_generation_prompt};
    struct build vars = build_new(a, JSON_OBJECT);
    char name[FIELD_PATH];

    for (const struct json *v = req->kwargs ? req->kwargs->first : NULL; v; v = v->next) {
        snprintf(name, sizeof name, "chat_template_kwargs.%s", v->key);
        if (is_one_of(v->key, reserved))
            return fail_field(ERR_INVALID, name, "`%s` is set by the request itself", name);
        build_add(&vars, v->key, v);
    }
    TRY(add_messages(&vars, req));
    TRY(add_tools(&vars, req->tools, req->use_tools));
    if (req->documents && !json_get(req->kwargs, "documents"))
        build_add(&vars, "documents", req->documents);
    if (req->reasoning_effort.n && !json_get(req->kwargs, "reasoning_effort"))
        build_string(&vars, "reasoning_effort", req->reasoning_effort);
    build_add(&vars, "add_generation_prompt", &prompt);
    *out = vars.v;
    return OK;
}

enum status messages_cut(const struct messages *req, struct buf *prompt)
{
    size_t n = sizeof mark - 1, at = prompt->len;
    bool whole;
    char name[FIELD_PATH];

    /* The last one: a client may write the same. */
    while (at > 0 && (prompt->len - at < n - 1 || memcmp(prompt->data + at, mark, n - 1) != 0))
        at--;
    if (prompt->len - at < n - 1 || memcmp(prompt->data + at, mark, n - 1) != 0) {
        snprintf(name, sizeof name, "messages[%d].content", req->messages->count - 1);
        return fail_field(ERR_INVALID, name,
                          "`%s` cannot be continued: this model's chat template does not show it",
                          name);
    }
    whole = prompt->len - at >= n && prompt->data[at + n - 1] == ' ';
    while (!whole && at > 0 && strchr(" \t\r\n", prompt->data[at - 1]))
        at--;
    prompt->len = at;
    prompt->data[at] = '\0';
    return OK;
}
