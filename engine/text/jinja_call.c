/* jinja_call.c - arguments, macros and the built-in functions. */
#include "engine/text/jinja_eval.h"

#include <string.h>
#include <time.h>

#include "engine/text/jinja_repr.h"

enum { MAX_RANGE = 100000 }; /* Jinja's sandbox has the same */

/* --- arguments */

static size_t count_nodes(const struct jnode *n)
{
    size_t count = 0;
    for (; n; n = n->next)
        count++;
    return count;
}

static void add_keyword(struct jinja *j, struct jargs *a, struct jkeyword kw)
{
    for (int i = 0; i < a->n_kw; i++)
        if (a->kw[i].name_n == kw.name_n && !memcmp(a->kw[i].name, kw.name, kw.name_n))
            jinja_raise(j, "got multiple values for keyword argument '%.*s'", (int)kw.name_n,
                        kw.name);
    a->kw[a->n_kw++] = kw;
}

static void add_keywords(struct jinja *j, struct jargs *a, struct jval dict)
{
    if (dict.type != JV_DICT)
        jinja_raise(j, "argument after ** must be a mapping, not %s", jv_type_name(dict));
    jinja_charge(j, dict.d->n * dict.d->n / 16);
    for (size_t i = 0; i < dict.d->n; i++) {
        struct jval key = dict.d->e[i].key;
        if (key.type != JV_STR)
            jinja_raise(j, "keywords must be strings");
        add_keyword(j, a, (struct jkeyword){key.s->p, key.s->n, dict.d->e[i].value});
    }
}

struct jargs jx_arguments(struct jinja *j, const struct jnode *call, struct jval caller)
{
    struct jargs a = {0};
    if (!call->list && !call->list2 && !call->b && !call->c && caller.type == JV_MISSING)
        return a;
    struct jval list = jv_list(j, JV_LIST, 4);
    for (const struct jnode *n = call->list; n; n = n->next)
        jv_push(j, list, jx_eval(j, n));
    struct jval more = jv_none(), keywords = jv_dict(j, 0);
    size_t n_kw = count_nodes(call->list2) + 1;
    struct jval *kw_value = jinja_array(j, n_kw, sizeof *kw_value);
    size_t k = 0;
    for (const struct jnode *n = call->list2; n; n = n->next)
        kw_value[k++] = jx_eval(j, n->a);
    if (call->b) {
        more.l = jv_items(j, jx_eval(j, call->b));
        list = jv_list_join(j, list, more);
    }
    if (call->c)
        keywords = jx_eval(j, call->c);
    n_kw += keywords.type == JV_DICT ? keywords.d->n : 0;
    if (list.l->n > INT32_MAX || n_kw > INT32_MAX)
        jinja_raise(j, "too many arguments");
    a.v = list.l->v;
    a.n = (int)list.l->n;
    a.kw = jinja_array(j, n_kw, sizeof *a.kw);
    k = 0;
    for (const struct jnode *n = call->list2; n; n = n->next)
        add_keyword(j, &a, (struct jkeyword){n->name.p, n->name.n, kw_value[k++]});
    add_keywords(j, &a, keywords);
    if (caller.type != JV_MISSING)
        add_keyword(j, &a, (struct jkeyword){"caller", 6, caller});
    return a;
}

/* The next name of a parameter list and its length; 0 at the end. */
static size_t next_param(const char **at)
{
    *at += **at == ' ';
    return strcspn(*at, " ");
}

static int param_index(const char *params, const char *name, size_t n)
{
    int i = 0;
    for (size_t len; (len = next_param(&params)) != 0; params += len, i++)
        if (len == n && !memcmp(params, name, n))
            return i;
    return -1;
}

enum { MAX_PARAMS = 8 };

struct jval jx_apply(struct jinja *j, const struct jfunc *f, struct jval self,
                     const struct jargs *a)
{
    if (!f->params)
        return f->fn(j, self, a);
    struct jval v[MAX_PARAMS];
    int n = 0;
    const char *p = f->params;
    for (size_t len; (len = next_param(&p)) != 0; p += len)
        v[n++] = jv_missing();
    if (a->n > n)
        jinja_raise(j, "%s() takes at most %d argument%s (%d given)", f->name, n, n == 1 ? "" : "s",
                    a->n);
    for (int i = 0; i < a->n; i++)
        v[i] = a->v[i];
    for (int i = 0; i < a->n_kw; i++) {
        int at = param_index(f->params, a->kw[i].name, a->kw[i].name_n);
        if (at < 0 || v[at].type != JV_MISSING)
            jinja_raise(j, "%s() got %s '%.*s'", f->name,
                        at < 0 ? "an unexpected keyword argument" : "multiple values for argument",
                        (int)a->kw[i].name_n, a->kw[i].name);
        v[at] = a->kw[i].v;
    }
    for (int i = 0; i < f->required; i++)
        if (v[i].type == JV_MISSING)
            jinja_raise(j, "%s() misses a required argument (%s)", f->name, f->params);
    struct jargs bound = {.v = v, .n = n};
    return f->fn(j, self, &bound);
}

/* --- macros */

struct jval jx_macro(struct jinja *j, const struct jnode *n)
{
    struct jmacro *m = jinja_alloc(j, sizeof *m);
    *m = (struct jmacro){.node = n, .scope = j->scope};
    for (struct jscope *s = j->scope; s && !s->kept; s = s->parent)
        s->kept = true;
    return (struct jval){.type = JV_MACRO, .macro = m};
}

/* Takes the keyword out of `a` (its name becomes empty). */
static struct jval take_keyword(const struct jargs *a, const char *name, size_t n)
{
    for (int i = 0; i < a->n_kw; i++) {
        if (!a->kw[i].name || a->kw[i].name_n != n || memcmp(a->kw[i].name, name, n))
            continue;
        a->kw[i].name = NULL;
        return a->kw[i].v;
    }
    return jv_missing();
}

static struct jval rest_keywords(struct jinja *j, const struct jargs *a)
{
    struct jval d = jv_dict(j, (size_t)a->n_kw);
    for (int i = 0; i < a->n_kw; i++)
        if (a->kw[i].name)
            jv_put(j, d.d, jv_borrow(j, a->kw[i].name, a->kw[i].name_n), a->kw[i].v);
    return d;
}

static void set_special(struct jinja *j, enum jname_id id, struct jval v)
{
    struct jname name = {.id = id};
    jx_set(j, &name, v);
}

/* Binds what was given; parameters that were not stay unset until their default is due. */
static int bind_given(struct jinja *j, const struct jnode *n, const struct jargs *a,
                      struct jval *given)
{
    int count = 0;
    bool caller = false;
    for (const struct jnode *p = n->list2; p; p = p->next, count++) {
        given[count] = count < a->n ? a->v[count] : take_keyword(a, p->name.p, p->name.n);
        caller |= p->name.id == JNAME_CALLER;
    }
    if ((n->uses & JUSE_CALLER) && !caller) {
        struct jval v = take_keyword(a, "caller", 6);
        set_special(j, JNAME_CALLER,
                    v.type != JV_MISSING ? v : jv_undefined_hint(j, "No caller defined"));
    }
    return count;
}

static void bind_rest(struct jinja *j, const struct jnode *n, const struct jargs *a, int n_params)
{
    int name_n = n->name.n > 80 ? 80 : (int)n->name.n;
    if (n->uses & JUSE_KWARGS)
        set_special(j, JNAME_KWARGS, rest_keywords(j, a));
    for (int i = 0; i < a->n_kw && !(n->uses & JUSE_KWARGS); i++)
        if (a->kw[i].name)
            jinja_raise(j, "macro '%.*s' takes no keyword argument '%.*s'", name_n, n->name.p,
                        (int)a->kw[i].name_n, a->kw[i].name);
    if (n->uses & JUSE_VARARGS) {
        struct jval rest = jv_list(j, JV_TUPLE, 4);
        for (int i = n_params; i < a->n; i++)
            jv_push(j, rest, a->v[i]);
        set_special(j, JNAME_VARARGS, rest);
    } else if (a->n > n_params) {
        jinja_raise(j, "macro '%.*s' takes not more than %d argument(s)", name_n, n->name.p,
                    n_params);
    }
}

static struct jval param_default(struct jinja *j, const struct jnode *p)
{
    if (p->a)
        return jx_eval(j, p->a);
    const char *hint =
        arena_printf(&j->arena, "parameter '%.*s' was not provided", (int)p->name.n, p->name.p);
    return jv_undefined_hint(j, hint ? hint : "a parameter was not provided");
}

static struct jval call_macro(struct jinja *j, const struct jmacro *m, const struct jargs *a)
{
    const struct jnode *n = m->node;
    size_t mark = j->out->len;
    struct jscope *back = j->scope;
    struct jval *given = jinja_array(j, count_nodes(n->list2), sizeof *given);
    j->scope = jx_scope(j, m->scope);
    int count = bind_given(j, n, a, given), i = 0;
    bind_rest(j, n, a, count);
    for (const struct jnode *p = n->list2; p; p = p->next, i++)
        jx_set(j, &p->name, given[i].type != JV_MISSING ? given[i] : param_default(j, p));
    jx_exec(j, n->list);
    j->scope = back;
    return jx_capture(j, mark);
}

struct jval jx_call(struct jinja *j, struct jval callee, const struct jargs *a)
{
    struct jval v;
    jinja_enter(j);
    switch (callee.type) {
    case JV_FUNC:
        v = jx_apply(j, callee.func, jv_none(), a);
        break;
    case JV_METHOD:
        v = jx_apply(j, callee.method->func, callee.method->self, a);
        break;
    case JV_MACRO:
        v = call_macro(j, callee.macro, a);
        break;
    case JV_LOOP:
        if (a->n != 1 || a->n_kw)
            jinja_raise(j, "loop() takes one argument");
        v = jx_recurse(j, callee.loop, a->v[0]);
        break;
    case JV_JOINER:
        v = callee.joiner->used ? callee.joiner->sep : jv_text(j, "");
        callee.joiner->used = true;
        break;
    case JV_UNDEFINED:
        jv_raise_undefined(j, callee);
    default:
        jinja_raise(j, "'%s' object is not callable", jv_type_name(callee));
    }
    jinja_leave(j);
    return v;
}

/* --- built-in functions */

struct jval jx_mapping(struct jinja *j, const struct jargs *a)
{
    struct jval out = jv_dict(j, 4);
    if (a->n > 1)
        jinja_raise(j, "dict expected at most 1 argument, got %d", a->n);
    if (a->n && a->v[0].type == JV_UNDEFINED) /* Python asks it for its keys */
        jv_raise_undefined(j, a->v[0]);
    if (a->n && a->v[0].type == JV_DICT) {
        for (size_t i = 0; i < a->v[0].d->n; i++)
            jv_put(j, out.d, a->v[0].d->e[i].key, a->v[0].d->e[i].value);
    } else if (a->n) {
        const struct jlist *l = jv_items(j, a->v[0]);
        for (size_t i = 0; i < l->n; i++) {
            const struct jlist *pair = jv_items(j, l->v[i]);
            if (pair->n != 2)
                jinja_raise(j,
                            "dictionary update sequence element #%zu has length %zu; 2 is "
                            "required",
                            i, pair->n);
            jv_put(j, out.d, pair->v[0], pair->v[1]);
        }
    }
    for (int i = 0; i < a->n_kw; i++)
        jv_put(j, out.d, jv_borrow(j, a->kw[i].name, a->kw[i].name_n), a->kw[i].v);
    return out;
}

static struct jval call_dict(struct jinja *j, struct jval self, const struct jargs *a)
{
    (void)self;
    return jx_mapping(j, a);
}

static struct jval call_namespace(struct jinja *j, struct jval self, const struct jargs *a)
{
    (void)self;
    struct jval v = jx_mapping(j, a);
    v.type = JV_NAMESPACE;
    return v;
}

static struct jval call_range(struct jinja *j, struct jval self, const struct jargs *a)
{
    (void)self;
    int64_t part[3] = {0, 0, 1};
    int given = 0;
    for (; given < 3 && a->v[given].type != JV_MISSING; given++) {
        struct jval v = a->v[given];
        if (v.type == JV_UNDEFINED)
            jv_raise_undefined(j, v);
        if (!jv_is_integer(v))
            jinja_raise(j, "'%s' object cannot be interpreted as an integer", jv_type_name(v));
        part[given == 0 ? 1 : given == 1 ? 1 : 2] = jv_as_int(v);
        if (given == 1)
            part[0] = jv_as_int(a->v[0]);
    }
    int64_t start = part[0], stop = part[1], step = part[2];
    if (!step)
        jinja_raise(j, "range() arg 3 must not be zero");
    __int128 span = step > 0 ? (__int128)stop - start : (__int128)start - stop;
    __int128 n = span <= 0 ? 0 : (span - 1) / (step > 0 ? step : -(__int128)step) + 1;
    if (n > MAX_RANGE)
        jinja_raise(j, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                    MAX_RANGE);
    struct jrange *r = jinja_alloc(j, sizeof *r);
    *r = (struct jrange){.start = start, .step = step, .n = (int64_t)n};
    return (struct jval){.type = JV_RANGE, .range = r};
}

static struct jval call_cycler(struct jinja *j, struct jval self, const struct jargs *a)
{
    (void)self;
    if (!a->n || a->n_kw)
        jinja_raise(j, "at least one item has to be provided");
    struct jcycler *c = jinja_alloc(j, sizeof *c);
    struct jval items = jv_list(j, JV_LIST, (size_t)a->n);
    for (int i = 0; i < a->n; i++)
        jv_push(j, items, a->v[i]);
    *c = (struct jcycler){.items = items.l};
    return (struct jval){.type = JV_CYCLER, .cycler = c};
}

static struct jval call_joiner(struct jinja *j, struct jval self, const struct jargs *a)
{
    (void)self;
    struct jjoiner *v = jinja_alloc(j, sizeof *v);
    *v = (struct jjoiner){.sep = a->v[0].type == JV_MISSING ? jv_text(j, ", ") : a->v[0]};
    return (struct jval){.type = JV_JOINER, .joiner = v};
}

static struct jval call_raise(struct jinja *j, struct jval self, const struct jargs *a)
{
    (void)self;
    struct jval text = jr_str(j, a->v[0]);
    jinja_raise_text(j, text.s->p, text.s->n);
}

/* datetime.now().strftime(format): local time, no zone, no fraction of a second. */
static struct jval call_strftime(struct jinja *j, struct jval self, const struct jargs *a)
{
    (void)self;
    char fmt[256], out[1024];
    size_t n = 0;
    if (a->v[0].type != JV_STR || a->v[0].s->n >= sizeof fmt / 4)
        jinja_raise(j, "strftime_now() needs a short format string");
    const struct jstr *s = a->v[0].s;
    for (size_t i = 0; i < s->n && s->p[i]; i++) {
        bool directive = s->p[i] == '%' && i + 1 < s->n;
        char c = directive ? s->p[i + 1] : '\0';
        if (c == 'f') {
            memcpy(fmt + n, "000000", 6);
            n += 6;
        } else if (directive && c != 'z' && c != 'Z') {
            fmt[n++] = '%';
            fmt[n++] = c;
        } else if (!directive) {
            fmt[n++] = s->p[i];
        }
        i += directive;
    }
    fmt[n] = '\0';
    time_t now = (time_t)j->now;
    struct tm tm;
    localtime_r(&now, &tm);
    size_t len = n ? strftime(out, sizeof out, fmt, &tm) : 0;
    return jv_str(j, out, len);
}

/* clang-format off */
static const struct jfunc globals[] = {
    {"range",           call_range,     "start stop step", 1},
    {"dict",            call_dict,      NULL,              0},
    {"namespace",       call_namespace, NULL,              0},
    {"cycler",          call_cycler,    NULL,              0},
    {"joiner",          call_joiner,    "sep",             0},
    {"raise_exception", call_raise,     "message",         1},
    {"strftime_now",    call_strftime,  "format",          1},
};
/* clang-format on */

const struct jfunc *jx_global(size_t i)
{
    return i < sizeof globals / sizeof *globals ? &globals[i] : NULL;
}
