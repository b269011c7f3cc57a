/* jinja_parse.c - statements, and the helpers both halves of the parser share.
 *
 * Recursion is bounded by jinja_enter while parsing; jp_done bounds how deep the finished tree is,
 * for chains like a+b+c+... grow the tree without recursion here, but the evaluator descends it. */
#include "engine/text/jinja_parse.h"

#include <string.h>

enum { MAX_TREE_DEPTH = 500 };

/* --- helpers */

struct jnode *jp_node(struct parser *ps, enum jkind kind)
{
    struct jnode *n = jinja_alloc(ps->j, sizeof *n);
    memset(n, 0, sizeof *n);
    n->kind = (uint8_t)kind;
    n->line = ps->j->line = ps->t->line;
    return n;
}

static int deepest(const struct jnode *n, int depth)
{
    for (; n; n = n->next)
        depth = n->depth > depth ? n->depth : depth;
    return depth;
}

struct jnode *jp_done(struct parser *ps, struct jnode *n)
{
    int depth = deepest(n->list2, deepest(n->list, 0));
    const struct jnode *child[] = {n->a, n->b, n->c};
    for (int i = 0; i < 3; i++)
        if (child[i] && child[i]->depth > depth)
            depth = child[i]->depth;
    n->depth = depth + 1;
    if (n->depth > MAX_TREE_DEPTH)
        jinja_raise(ps->j, "the template nests more than %d levels", MAX_TREE_DEPTH);
    return n;
}

struct jname jp_name(struct parser *ps, const char *p, size_t n)
{
    int id = map_get(ps->names->ids, p, n, -1);
    if (id < 0) {
        id = ps->names->n++;
        map_put(ps->names->ids, p, n, id, -1);
    }
    char *copy = jinja_alloc(ps->j, n);
    memcpy(copy, p, n);
    return (struct jname){.p = copy, .n = n, .id = id};
}

bool jp_is_op(const struct jtoken *t, const char *op)
{
    return t->kind == JT_OP && t->n == strlen(op) && !memcmp(t->p, op, t->n);
}

bool jp_is_name(const struct jtoken *t, const char *name)
{
    return t->kind == JT_NAME && t->n == strlen(name) && !memcmp(t->p, name, t->n);
}

bool jp_skip_op(struct parser *ps, const char *op)
{
    bool is = jp_is_op(ps->t, op);
    ps->t += is;
    return is;
}

bool jp_skip_name(struct parser *ps, const char *name)
{
    bool is = jp_is_name(ps->t, name);
    ps->t += is;
    return is;
}

_Noreturn void jp_unexpected(struct parser *ps, const char *wanted)
{
    static const char *const kind[] = {
        [JT_DATA] = "template data",
        [JT_PRINT_BEGIN] = "begin of print statement",
        [JT_PRINT_END] = "end of print statement",
        [JT_BLOCK_BEGIN] = "begin of statement block",
        [JT_BLOCK_END] = "end of statement block",
        [JT_STRING] = "string",
        [JT_NUMBER] = "number",
        [JT_EOF] = "end of template",
    };
    const struct jtoken *t = ps->t;
    bool source = t->kind == JT_NAME || t->kind == JT_OP;
    const char *p = source ? t->p : kind[t->kind];
    int n = (int)(source ? t->n : strlen(p));
    ps->j->line = t->line;
    if (wanted)
        jinja_raise(ps->j, "expected %s, got '%.*s'", wanted, n > 80 ? 80 : n, p);
    jinja_raise(ps->j, "unexpected '%.*s'", n > 80 ? 80 : n, p);
}

void jp_expect_op(struct parser *ps, const char *op)
{
    if (!jp_skip_op(ps, op))
        jp_unexpected(ps, op);
}

struct jtoken *jp_expect_name(struct parser *ps)
{
    if (ps->t->kind != JT_NAME)
        jp_unexpected(ps, "a name");
    return ps->t++;
}

static void expect_block_end(struct parser *ps)
{
    if (ps->t->kind != JT_BLOCK_END)
        jp_unexpected(ps, "end of statement block");
    ps->t++;
}

/* --- bodies */

static struct jnode *parse_statement(struct parser *ps);

static bool ends_here(const struct jtoken *t, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (jp_is_name(t, *ends))
            return true;
    return false;
}

static void check_known(struct parser *ps)
{
    const struct jnode *n = ps->unknown;
    if (!n)
        return;
    ps->j->line = n->line;
    jinja_raise(ps->j, "No %s named '%.*s'.", n->kind == JN_FILTER ? "filter" : "test",
                n->name.n > 80 ? 80 : (int)n->name.n, n->name.p);
}

/* Statements up to a tag named in `ends` (NULL: to the end of the text); the current token is then
 * that tag's name. */
static struct jnode *parse_until(struct parser *ps, const char *const *ends)
{
    struct jnode *first = NULL, **tail = &first, *n;
    for (; ps->t->kind != JT_EOF; tail = &n->next) {
        if (ps->t->kind == JT_DATA) {
            n = jp_node(ps, JN_TEXT);
            n->value = ps->t++->value;
        } else if (ps->t->kind == JT_PRINT_BEGIN) {
            ps->t++;
            n = jp_node(ps, JN_PRINT);
            n->a = jp_tuple(ps, true, NULL);
            if (ps->t->kind != JT_PRINT_END)
                jp_unexpected(ps, "end of print statement");
            ps->t++;
        } else {
            ps->t++; /* the lexer makes no other token at this level than JT_BLOCK_BEGIN */
            if (ends_here(ps->t, ends))
                return first;
            n = parse_statement(ps);
            expect_block_end(ps);
        }
        *tail = jp_done(ps, n);
        check_known(ps);
    }
    if (ends)
        jinja_raise(ps->j, "unexpected end of template; looking for '%s'", ends[0]);
    return first;
}

/* The body behind a tag, up to a tag named in `ends`. */
static struct jnode *parse_body(struct parser *ps, const char *const *ends, bool soft)
{
    bool outer = ps->soft;
    ps->soft = soft;
    jp_skip_op(ps, ":");
    expect_block_end(ps);
    struct jnode *body = parse_until(ps, ends);
    ps->soft = outer;
    return body;
}

/* The same with one end, which is consumed; in a scope of its own. */
static struct jnode *parse_scope(struct parser *ps, const char *end)
{
    const char *const ends[] = {end, NULL};
    struct jnode *body = parse_body(ps, ends, false);
    ps->t++;
    return body;
}

/* --- statements */

static void parse_for(struct parser *ps, struct jnode *n)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    n->kind = JN_FOR;
    ps->loops++;
    n->a = jp_target(ps, false, "in");
    ps->loops--;
    if (!jp_skip_name(ps, "in"))
        jp_unexpected(ps, "in");
    n->b = jp_tuple(ps, false, "recursive");
    if (jp_skip_name(ps, "if"))
        n->c = jp_expression(ps);
    n->flag = jp_skip_name(ps, "recursive");
    ps->loops++;
    n->list = parse_body(ps, ends, false);
    ps->loops--;
    if (!jp_is_name(ps->t++, "endfor"))
        n->list2 = parse_scope(ps, "endfor");
}

static void parse_if(struct parser *ps, struct jnode *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    struct jnode **tail = &n->list;
    bool more = true, soft = ps->soft;
    n->kind = JN_IF;
    while (more) {
        struct jnode *branch = jp_node(ps, JN_BRANCH);
        ps->soft = true;
        branch->a = jp_tuple(ps, false, NULL);
        branch->list = parse_body(ps, ends, true);
        *tail = jp_done(ps, branch);
        tail = &branch->next;
        more = jp_is_name(ps->t++, "elif");
    }
    if (jp_is_name(ps->t - 1, "else")) {
        struct jnode *branch = jp_node(ps, JN_BRANCH);
        branch->list = parse_body(ps, last, true);
        ps->t++;
        *tail = jp_done(ps, branch);
    }
    ps->soft = soft;
}

static void parse_set(struct parser *ps, struct jnode *n)
{
    n->a = jp_target(ps, true, NULL);
    if (jp_skip_op(ps, "=")) {
        n->kind = JN_SET;
        n->b = jp_tuple(ps, true, NULL);
        return;
    }
    n->kind = JN_SET_BLOCK;
    bool soft = ps->soft;
    ps->soft = false;
    n->b = jp_filter(ps, NULL, false);
    ps->soft = soft;
    n->list = parse_scope(ps, "endset");
}

static void parse_params(struct parser *ps, struct jnode *macro)
{
    struct jnode **tail = &macro->list2;
    bool defaults = false;
    jp_expect_op(ps, "(");
    while (!jp_is_op(ps->t, ")")) {
        if (macro->list2)
            jp_expect_op(ps, ",");
        struct jnode *n = jp_node(ps, JN_PARAM);
        struct jtoken *t = jp_expect_name(ps);
        n->name = jp_name(ps, t->p, t->n);
        if (jp_skip_op(ps, "=")) {
            n->a = jp_expression(ps);
            defaults = true;
        } else if (defaults) {
            jinja_raise(ps->j, "non-default argument follows default argument");
        } else if (jp_is_name(t, "caller")) {
            macro->flag = true; /* an error if the body reads it */
        }
        *tail = jp_done(ps, n);
        tail = &n->next;
    }
    jp_expect_op(ps, ")");
}

static void parse_macro_body(struct parser *ps, struct jnode *n, const char *end)
{
    uint8_t outer = ps->uses;
    int loops = ps->loops;
    ps->uses = 0;
    ps->loops = 0;
    n->list = parse_scope(ps, end);
    n->uses = ps->uses;
    ps->uses |= outer;
    ps->loops = loops;
    if (n->flag && (n->uses & JUSE_CALLER))
        jinja_raise(ps->j, "When defining macros or call blocks the special \"caller\" argument "
                           "must be omitted or be given a default.");
}

static void parse_macro(struct parser *ps, struct jnode *n)
{
    struct jtoken *t = jp_expect_name(ps);
    n->kind = JN_MACRO;
    n->name = jp_name(ps, t->p, t->n);
    parse_params(ps, n);
    parse_macro_body(ps, n, "endmacro");
}

static void parse_call_block(struct parser *ps, struct jnode *n)
{
    n->kind = JN_CALL_BLOCK;
    if (jp_is_op(ps->t, "("))
        parse_params(ps, n);
    n->a = jp_expression(ps);
    if (n->a->kind != JN_CALL)
        jinja_raise(ps->j, "expected call");
    parse_macro_body(ps, n, "endcall");
}

static void parse_filter_block(struct parser *ps, struct jnode *n)
{
    n->kind = JN_FILTER_BLOCK;
    n->b = jp_filter(ps, NULL, true);
    n->list = parse_scope(ps, "endfilter");
}

static void parse_with(struct parser *ps, struct jnode *n)
{
    struct jnode **tail = &n->list2;
    n->kind = JN_WITH;
    while (ps->t->kind != JT_BLOCK_END) {
        if (n->list2)
            jp_expect_op(ps, ",");
        struct jnode *bind = jp_node(ps, JN_SET);
        bind->a = jp_target(ps, false, NULL);
        jp_expect_op(ps, "=");
        bind->b = jp_expression(ps);
        *tail = jp_done(ps, bind);
        tail = &bind->next;
    }
    n->list = parse_scope(ps, "endwith");
}

static void parse_print(struct parser *ps, struct jnode *n)
{
    struct jnode **tail = &n->list;
    n->kind = JN_SCOPE;
    while (ps->t->kind != JT_BLOCK_END) {
        if (n->list)
            jp_expect_op(ps, ",");
        struct jnode *print = jp_node(ps, JN_PRINT);
        print->a = jp_expression(ps);
        *tail = jp_done(ps, print);
        tail = &print->next;
    }
}

static void parse_block(struct parser *ps, struct jnode *n)
{
    struct jtoken *t = jp_expect_name(ps);
    n->kind = JN_SCOPE;
    n->flag = !jp_skip_name(ps, "scoped");
    if (jp_skip_name(ps, "required"))
        jinja_raise(ps->j, "a required block needs a template that extends this one");
    n->list = parse_scope(ps, "endblock");
    if (ps->t->kind == JT_NAME && ps->t->n == t->n && !memcmp(ps->t->p, t->p, t->n))
        ps->t++;
}

/* Transformers marks what the assistant said by {% generation %}; here it only makes a scope. */
static void parse_generation(struct parser *ps, struct jnode *n)
{
    int loops = ps->loops;
    ps->loops = 0;
    n->kind = JN_SCOPE;
    n->list = parse_scope(ps, "endgeneration");
    ps->loops = loops;
}

static void parse_jump(struct parser *ps, struct jnode *n)
{
    bool is_break = jp_is_name(ps->t - 1, "break");
    if (!ps->loops)
        jinja_raise(ps->j, "'%s' outside loop", is_break ? "break" : "continue");
    n->kind = is_break ? JN_BREAK : JN_CONTINUE;
}

static void parse_autoescape(struct parser *ps, struct jnode *n)
{
    n->kind = JN_SCOPE;
    struct jnode *on = jp_expression(ps);
    if (on->kind != JN_CONST || jv_truth(ps->j, on->value))
        jinja_raise(ps->j, "autoescape is not supported");
    n->list = parse_scope(ps, "endautoescape");
}

/* Other templates: there are none to load, which Jinja reports when the tag runs. */
static void parse_other_template(struct parser *ps, struct jnode *n)
{
    n->kind = JN_FAIL;
    n->value = jv_text(ps->j, "no loader for this environment specified");
    while (ps->t->kind != JT_BLOCK_END && ps->t->kind != JT_EOF)
        ps->t++;
}

static struct jnode *parse_statement(struct parser *ps)
{
    /* clang-format off */
    static const struct { const char *name; void (*parse)(struct parser *, struct jnode *); } row[] = {
        {"for", parse_for}, {"if", parse_if}, {"set", parse_set}, {"macro", parse_macro},
        {"call", parse_call_block}, {"filter", parse_filter_block}, {"with", parse_with},
        {"print", parse_print}, {"block", parse_block}, {"generation", parse_generation},
        {"break", parse_jump}, {"continue", parse_jump}, {"autoescape", parse_autoescape},
        {"include", parse_other_template}, {"import", parse_other_template},
        {"from", parse_other_template}, {"extends", parse_other_template},
    };
    /* clang-format on */
    if (ps->t->kind != JT_NAME)
        jp_unexpected(ps, "tag name");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (!jp_is_name(ps->t, row[i].name))
            continue;
        jinja_enter(ps->j);
        struct jnode *n = jp_node(ps, JN_TEXT);
        ps->t++;
        row[i].parse(ps, n);
        jinja_leave(ps->j);
        return n;
    }
    ps->j->line = ps->t->line;
    jinja_raise(ps->j, "Encountered unknown tag '%.*s'.", (int)(ps->t->n < 80 ? ps->t->n : 80),
                ps->t->p);
}

struct jnode *jp_parse(struct jinja *j, struct jnames *names, const char *text, size_t n)
{
    static const char *const own[N_JNAMES] = {"loop", "caller", "kwargs", "varargs"};
    struct parser ps = {.j = j, .names = names};
    for (int i = 0; i < N_JNAMES; i++)
        jp_name(&ps, own[i], strlen(own[i]));
    ps.t = jl_tokens(j, text, n);
    return parse_until(&ps, NULL);
}
